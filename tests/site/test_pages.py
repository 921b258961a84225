"""Every page, as a reader meets it: on a desk and on a phone, light and dark."""

from __future__ import annotations

from pathlib import Path

import pytest
from axe_playwright_python.base import AXE_FILE_PATH
from playwright.sync_api import Browser, Page

from tests.site.conftest import pages

WIDTHS = (1280, 390)
AXE = Path(AXE_FILE_PATH).read_text(encoding="utf-8")
SETTLED = 1500  # milliseconds; the theme moves things after loading, and axe would see them half way

# What each <img> of the page is: where from, its alternative text, and whether there is a picture.
IMAGES = """() => [...document.images].map(i => ({
    src: i.getAttribute("src"), alt: i.getAttribute("alt"), decorative: i.closest("a.logo") !== null,
    loaded: i.complete && i.naturalWidth > 0 }))"""

# Text that a reader sees and that still looks like TeX: outside code and formulas.
RAW_TEX = r"""() => {
    const top = document.querySelector("article") ?? document.body;
    const walker = document.createTreeWalker(top, NodeFilter.SHOW_TEXT);
    const found = [];
    while (walker.nextNode()) {
        const node = walker.currentNode;
        if (!node.parentElement.closest("code, pre, script, style, math")
            && /\\[()\[\]]|\$\$|\\begin\{/.test(node.data)) found.push(node.data.trim().slice(0, 80));
    }
    return found; }"""

# axe on everything but contrast, which it computes word by word.
STRUCTURE = """() => axe.run(document, {
    resultTypes: ["violations"], preload: false, rules: {"color-contrast": {enabled: false}}})"""
CONTRAST = """() => axe.run(document, {
    resultTypes: ["violations"], preload: false, runOnly: ["color-contrast"]})"""

# A chapter has eight thousand coloured words of code, and axe would take half a minute for them. Of each kind of
# word in each kind of box one is kept; formulas have the colour of the text around them.
KEEP_EXAMPLES = """() => {
    const seen = new Set();
    for (const pre of document.querySelectorAll(".highlight pre")) {
        const box = pre.closest("[class*=highlight-], .output")?.className;
        for (const word of [...pre.childNodes]) {
            const kind = `${word.className ?? ""} in ${box}`;
            if (word.textContent.trim() && !seen.has(kind)) seen.add(kind); else word.remove();
        }
    }
    document.querySelectorAll("math").forEach(formula => formula.replaceChildren()); }"""

# Pictures are loaded, and boxes that scroll get their place among the stops of Tab, when they come near the window.
# What is folded is opened first: it is part of the page.
SCROLL_THROUGH = """async () => {
    for (const folded of document.querySelectorAll("details")) folded.open = true;
    for (let y = 0; y < document.scrollingElement.scrollHeight; y += innerHeight / 2) {
        scrollTo(0, y);
        await new Promise(done => requestAnimationFrame(() => setTimeout(done, 20)));
    }
    scrollTo(0, 0); }"""

# The boxes that stick out, smallest first, to say what is to be mended.
WIDE = """() => [...document.querySelectorAll("main *")]
    .filter(e => e.getBoundingClientRect().right > innerWidth + 1
                 && ![...ancestors(e)].some(a => /auto|scroll|hidden/.test(getComputedStyle(a).overflowX)))
    .map(e => `${e.tagName.toLowerCase()}.${e.className}`).slice(-3);
    function* ancestors(e) { while (e = e.parentElement) { if (e === document.body) return; yield e; } }"""


class Visit:
    """A page in the browser, and what it did while it loaded."""

    def __init__(self, browser: Browser, address: str, width: int) -> None:
        self.address = address
        self.trouble: list[str] = []
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme="light")
        self.page: Page = self.context.new_page()
        self.page.on("request", lambda r: self._request(r.url))
        self.page.on("response", lambda r: self._note(r.status >= 400, f"{r.status} for {r.url}"))
        # Aborted: the start page leads on while its icon is still loading. What is missing answers 404.
        self.page.on(
            "requestfailed", lambda r: self._note(r.failure != "net::ERR_ABORTED", f"request failed: {r.url}")
        )
        self.page.on("console", lambda m: self._note(m.type == "error", f"console: {m.text}"))
        self.page.on("pageerror", lambda e: self._note(True, f"script error: {e}"))

    def _note(self, bad: bool, message: str) -> None:
        if bad:
            self.trouble.append(message)

    def _request(self, url: str) -> None:
        if not url.startswith((self.address, "data:", "blob:")):
            self.trouble.append(f"request to another host: {url}")

    def open(self, name: str) -> None:
        """Load a page and wait until nothing moves."""
        self.page.goto(self.address + name)
        if name == "index.html":  # leads on by itself, to the first page
            self.page.wait_for_url(self.address + "book/*.html")
        self.page.evaluate(SCROLL_THROUGH)
        self.page.wait_for_timeout(SETTLED)

    def switch(self, mode: str) -> None:
        """Go to light or dark mode, as the reader's system would."""
        self.page.emulate_media(color_scheme=mode, reduced_motion="reduce")  # type: ignore[arg-type]
        # The start page has no theme.
        self.page.wait_for_function(
            f"document.documentElement.dataset.theme === '{mode}' || !document.querySelector('#main-content')"
        )
        self.page.wait_for_timeout(300)  # colours fade into one another

    def width(self, mode: str) -> None:
        """Note if the page scrolls sideways, and because of what."""
        width, room = self.page.evaluate("[document.scrollingElement.scrollWidth, innerWidth]")
        if width > room:
            outside = self.page.evaluate(WIDE)
            self.trouble.append(f"{mode}: the page is {width} px wide in a window of {room}: {outside}")

    def axe(self, mode: str, program: str) -> None:
        """Note what axe finds serious or critical."""
        for found in self.page.evaluate(program)["violations"]:
            if found["impact"] in ("serious", "critical"):
                where = "; ".join(node["html"][:160] for node in found["nodes"][:3])
                self.trouble.append(f"{mode}: axe {found['impact']} {found['id']} at {where}")

    def content(self) -> None:
        """Note pictures and formulas that are missing."""
        for image in self.page.evaluate(IMAGES):
            if not image["loaded"]:
                self.trouble.append(f"image not loaded: {image['src']}")
            alt = (image["alt"] or "").strip()
            # Without a text Sphinx writes the path of the file; beside the name of the course the mark needs none.
            if (not alt and not image["decorative"]) or alt.endswith((".png", ".svg", ".jpg")):
                self.trouble.append(f"no alternative text: {image['src']} has {image['alt']!r}")
        formulas = self.page.locator("article .math").count()
        typeset = self.page.locator("article .math math").count()
        if typeset < formulas:
            self.trouble.append(f"{formulas - typeset} of {formulas} formulas are not MathML")
        self.trouble += [f"TeX shows as text: {text}" for text in self.page.evaluate(RAW_TEX)]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", pages() or ["index.html"])
def test_page(name: str, width: int, address: str, browser: Browser) -> None:
    """A page loads nothing from elsewhere, has no error, no sideways scroll, no bare picture, no axe violation."""
    visit = Visit(browser, address, width)
    try:
        visit.open(name)
        visit.content()
        visit.page.evaluate(AXE)
        visit.axe("light", STRUCTURE)  # the same in dark
        visit.width("light")
        visit.switch("dark")
        visit.width("dark")
        visit.page.evaluate(KEEP_EXAMPLES)
        for mode in ("dark", "light"):
            visit.switch(mode)
            visit.axe(mode, CONTRAST)
    finally:
        visit.context.close()
    assert not visit.trouble, f"{name} at {width} px:\n  " + "\n  ".join(dict.fromkeys(visit.trouble))


def test_theme_can_be_switched(address: str, browser: Browser) -> None:
    """The button for light and dark works, and its choice is remembered on the next page."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    page = context.new_page()
    page.goto(address + "book/index.html")
    button = page.locator(".theme-switch-button:visible").first
    for _ in range(3):  # auto, light, dark, in an order that is the theme's
        if page.evaluate("document.documentElement.dataset.mode") == "dark":
            break
        button.click()
    page.goto(address + "book/guides/reference.html")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    context.close()


def test_folded_answers_open(address: str, browser: Browser) -> None:
    """A folded answer is hidden at first and shown after a press on its button, by keyboard too."""
    context = browser.new_context(viewport={"width": 390, "height": 900})
    page = context.new_page()
    folded = 0
    for name in pages():
        if name == "index.html":  # leads on to another page
            continue
        page.goto(address + name)
        box = page.locator("details.course-fold").first
        if box.count():
            folded += 1
            answer = box.locator("> :not(summary)").first
            assert not answer.is_visible(), f"{name}: an answer is open before it is asked for"
            box.locator("summary").focus()
            page.keyboard.press("Enter")
            answer.wait_for(state="visible", timeout=60_000)
    context.close()
    assert folded, "no page has a folded answer; has their class changed?"
