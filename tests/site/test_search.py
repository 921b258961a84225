"""The search finds every chapter by a word of its own."""

from __future__ import annotations

import functools
import re
from collections import Counter
from html.parser import HTMLParser

import pytest
from playwright.sync_api import Browser, expect

from tests.site.conftest import SITE, notebooks


class _Prose(HTMLParser):
    """Collects the text of a page's article, without code, formulas and what is not shown."""

    SKIPPED = frozenset({"pre", "code", "script", "style", "math"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in {"img", "br", "hr", "input", "meta", "link", "col", "wbr"}:
            self.open.append("math" if "math" in (dict(attrs).get("class") or "").split() else tag)

    def handle_endtag(self, tag: str) -> None:
        if self.open:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if "article" in self.open and not self.SKIPPED & set(self.open):
            self.text.append(data)


@functools.cache
def words(name: str) -> Counter[str]:
    """How often each longer word stands in the prose of a page."""
    parser = _Prose()
    parser.feed((SITE / f"{name}.html").read_text(encoding="utf-8"))
    return Counter(re.findall(r"\b[a-z]{6,}\b", " ".join(parser.text)))


def own_word(name: str) -> str:
    """The most frequent word of a notebook that no other notebook has."""
    others = {word for other in notebooks() if other != name for word in words(other)}
    return next(word for word, _ in words(name).most_common() if word not in others)


@pytest.mark.parametrize("name", notebooks() or ["book/index"])
def test_search_finds_the_chapter(name: str, address: str, browser: Browser) -> None:
    """A search typed into the field of the search page lists the chapter."""
    word = own_word(name)
    page = browser.new_page()
    page.goto(f"{address}search.html")
    field = page.locator("main form.bd-search input[name=q]")
    field.fill(word)
    page.locator("main form.bd-search button[type=submit]").click()
    expect(page).to_have_url(re.compile(rf"q={word}"))
    result = page.locator(f"#search-results a[href^='{name}.html']").first
    expect(result, f"a search for {word!r} does not list {name}").to_be_visible(timeout=120_000)
    page.close()
