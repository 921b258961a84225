"""Every page is light: bytes, requests, and time of the processor, as a phone has them."""

from __future__ import annotations

import gzip
import re
import statistics

import pytest
from playwright.sync_api import Browser, Response, ViewportSize

from tests.site.conftest import SITE, pages

MAX_BYTES, MAX_COMPRESSED_BYTES, MAX_REQUESTS = 500_000, 150_000, 12
MAX_CPU_RATIO = 2.0  # of a page and the same text without styles and scripts
REPETITIONS = 5
PHONE: ViewportSize = {"width": 390, "height": 844}
PAGES = [name for name in pages() if name != "index.html"]  # which leads on to another
# Tags that give the bare page its paragraphs; all others are taken out of it.
_OTHER_TAGS = re.compile(r"<(?!/?(?:p|pre|h[1-6]|li|ul|ol|table|tr|td|th|section)\b)[^>]*>")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_light(name: str, address: str, browser: Browser) -> None:
    """What loads before anybody scrolls is small. Compressed is what `gzip -6` makes of it, as servers do."""
    context = browser.new_context(viewport=PHONE)
    page = context.new_page()
    bodies: dict[str, bytes] = {}

    def keep(response: Response) -> None:
        bodies[response.url] = response.body()

    page.on("response", keep)
    page.goto(address + name)
    page.wait_for_timeout(500)
    context.close()
    raw = sum(map(len, bodies.values()))
    packed = sum(min(len(body), len(gzip.compress(body, 6))) for body in bodies.values())
    heaviest = sorted(((len(body), url.removeprefix(address)) for url, body in bodies.items()), reverse=True)[:4]
    assert raw <= MAX_BYTES, heaviest
    assert packed <= MAX_COMPRESSED_BYTES, heaviest
    assert len(bodies) <= MAX_REQUESTS, sorted(bodies)


def _cpu_time(browser: Browser, address: str, bare: str = "") -> float:
    """Seconds that the page's main thread works until the page is there.

    Args:
        browser: in which it is opened, in a context of its own.
        address: of the page.
        bare: HTML that is served at this address instead of the page.
    """
    context = browser.new_context(viewport=PHONE)
    page = context.new_page()
    if bare:
        page.route("**/*", lambda route: route.fulfill(body=bare, content_type="text/html; charset=utf-8"))
    session = context.new_cdp_session(page)
    session.send("Performance.enable")
    page.goto(address)
    page.wait_for_timeout(500)
    metrics = {metric["name"]: metric["value"] for metric in session.send("Performance.getMetrics")["metrics"]}
    context.close()
    return float(metrics["TaskDuration"])


@pytest.mark.parametrize("name", PAGES)
def test_a_page_costs_at_most_twice_its_text(name: str, address: str, browser: Browser) -> None:
    """Styles, scripts and boxes take no longer than the text alone; both are measured in turn, here and now."""
    article = re.search(r'<article class="bd-article">(.*?)</article>', (SITE / name).read_text("utf-8"), re.DOTALL)
    text = _OTHER_TAGS.sub("", article[1]) if article else ""
    bare = f"<!DOCTYPE html><html lang=en><meta charset=utf-8><title>bare</title><body>{text}</body></html>"
    pairs = [
        (_cpu_time(browser, address + name), _cpu_time(browser, address + name, bare)) for _ in range(REPETITIONS)
    ]
    ours, theirs = (statistics.median(times) for times in zip(*pairs, strict=True))
    assert ours <= MAX_CPU_RATIO * theirs, f"{1000 * ours:.0f} ms, {1000 * theirs:.0f} ms for the text alone"
