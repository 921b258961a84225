"""Every page is light, in bytes and requests, as a phone loads it."""

from __future__ import annotations

import gzip

import pytest
from playwright.sync_api import Browser, Response, ViewportSize

from tests.site.conftest import pages

MAX_BYTES, MAX_COMPRESSED_BYTES, MAX_REQUESTS = 500_000, 150_000, 12
PHONE: ViewportSize = {"width": 390, "height": 844}
PAGES = [name for name in pages() if name != "index.html"]  # which leads on to another page


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
