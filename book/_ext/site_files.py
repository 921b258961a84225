"""Make the built pages light: one style sheet, one script, small fonts, small pictures.

In:  the pages, style sheets, fonts and pictures that Sphinx and its theme have written.
Out: the same pages, which load `_static/site.css`, `_static/site.js` and what is left of the fonts and pictures.

Nothing is listed by hand: a rule of a style sheet stays if a page or our script has its classes, a letter of a font
stays if a page shows it.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import tinycss2
from fontTools import subset
from fontTools.ttLib import TTFont
from PIL import Image
from sphinx.application import Sphinx

STYLES = (
    "basic.css",
    "styles/pydata-sphinx-theme.css",
    "pygments.css",
    "styles/sphinx-book-theme.css",
    "mystnb.*.css",
    "sphinx-design.min.css",
    "course.css",
)
SCRIPTS = ("course.js",)
logging.getLogger("fontTools").setLevel(logging.WARNING)  # it reports every table of a font
COLOURS = 64  # of a picture; figures have few
ICONS = "vendor/fontawesome/webfonts/fa-solid-900.woff2"
MATH_FONT = Path(__file__).parent.parent / "_fonts" / "stix-two-math.woff2"
# What a formula may be stretched or switched to, whatever the pages hold today.
ALWAYS = "".join(map(chr, range(32, 127))) + "()[]{}|‖⌈⌉⌊⌋√∑∏∫−×·…′→↦≤≥≠≈∈∉⊂∪∩∞∂∇±"


# --- what the pages hold -------------------------------------------------------------------------------------------


class Names(HTMLParser):
    """Collects the tags, classes and ids of pages, and the text of their formulas."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = {"html", "body"}
        self.classes: set[str] = set()
        self.ids: set[str] = set()
        self.letters: set[str] = set()
        self._formula = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.add(tag)
        self._formula += tag == "math"
        for name, value in attrs:
            if name == "class" and value:
                self.classes.update(value.split())
            elif name == "id" and value:
                self.ids.add(value)

    def handle_endtag(self, tag: str) -> None:
        """Note that a formula has ended."""
        self._formula -= tag == "math"

    def handle_data(self, data: str) -> None:
        """Note the letters of a formula."""
        if self._formula:
            self.letters.update(data)


# --- style sheets --------------------------------------------------------------------------------------------------


def used_rules(css: str, names: Names) -> str:
    """The part of a style sheet that can apply to a page: by tags, classes and ids; and the variables it reads."""
    rules = [text for node in _parse(css) for text in _kept(node, names)]
    while True:  # a variable may be read by a variable only
        text = "".join(rules)
        read = set(re.findall(r"var\(\s*(--[\w-]+)", text))
        animations = set(re.findall(r"animation(?:-name)?:([^;}]*)", text))
        shorter = [_without_unread(rule, read, " ".join(animations)) for rule in rules]
        if shorter == rules:
            return text
        rules = shorter


def _parse(css: str) -> list[Any]:
    return list(tinycss2.parse_stylesheet(css, skip_comments=True, skip_whitespace=True))


def _kept(node: Any, names: Names) -> Iterator[str]:
    if node.type == "qualified-rule":
        selectors = [each for each in _split(node.prelude) if _can_match(each, names)]
        body = _text(node.content).rstrip(";")
        if selectors and body:
            yield f"{','.join(_text(each) for each in selectors)}{{{body}}}"
    elif node.type == "at-rule" and node.at_keyword in ("media", "supports", "layer") and node.content is not None:
        inner = tinycss2.parse_rule_list(node.content, skip_comments=True, skip_whitespace=True)
        body = "".join(text for each in inner for text in _kept(each, names))
        if body:
            yield f"@{node.at_keyword} {_text(node.prelude)}{{{body}}}"
    elif node.type == "at-rule" and node.lower_at_keyword != "charset":
        content = "" if node.content is None else f"{{{_text(node.content)}}}"
        yield f"@{node.at_keyword} {_text(node.prelude)}{content or ';'}"


def _split(prelude: list[Any]) -> Iterator[list[Any]]:
    """The selectors of a list."""
    part: list[Any] = []
    for token in prelude:
        if token.type == "literal" and token.value == ",":
            yield part
            part = []
        else:
            part.append(token)
    yield part


def _can_match(selector: list[Any], names: Names) -> bool:
    previous = None
    for token in selector:
        if token.type == "ident":
            before = previous.value if previous is not None and previous.type == "literal" else ""
            if before == "." and token.value not in names.classes:
                return False
            if before not in (".", ":") and token.lower_value not in names.tags:
                return False
        elif token.type == "hash" and token.value not in names.ids:
            return False
        elif token.type == "function" and token.lower_name in ("is", "where", "has"):
            if not any(_can_match(each, names) for each in _split(token.arguments)):
                return False
        elif token.type == "literal" and token.value == "|":
            return True
        previous = token
    return True


def _text(tokens: Iterable[Any]) -> str:
    text = tinycss2.serialize([token for token in tokens if token.type != "comment"])
    return re.sub(r"\s+", " ", re.sub(r"\s*([{};,>])\s*", r"\1", text)).strip()


def _without_unread(rule: str, read: set[str], animations: str) -> str:
    if rule.startswith("@keyframes"):
        return rule if rule.split("{")[0].split()[-1] in animations else ""
    return re.sub(r"(?<=[{;])(--[\w-]+):[^;{}]*(;|(?=}))", lambda m: m[0] if m[1] in read else "", rule)


# --- fonts and pictures --------------------------------------------------------------------------------------------


def part_of_font(font: bytes, letters: Iterable[str], *, layout: bool) -> bytes:
    """A font with some of its letters only, as WOFF2.

    Args:
        font: the whole one.
        letters: those to keep.
        layout: whether to keep what makes letters stretch and change their form.
    """
    options = subset.Options(flavor="woff2", layout_features=["*"] if layout else [], notdef_outline=True)
    options.drop_tables += [] if layout else ["GSUB", "GPOS", "GDEF"]
    whole = TTFont(BytesIO(font))
    made = subset.Subsetter(options)
    made.populate(text="".join(sorted(letters)))
    made.subset(whole)
    whole.flavor = "woff2"
    out = BytesIO()
    whole.save(out)
    return out.getvalue()


def shrink_picture(path: Path) -> None:
    """Write a PNG with few colours in its place, if that is smaller."""
    with Image.open(path) as picture:
        small = picture.convert("RGBA").quantize(COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        out = BytesIO()
        small.save(out, "PNG", optimize=True)
    if len(out.getvalue()) < path.stat().st_size:
        path.write_bytes(out.getvalue())


# --- pages ---------------------------------------------------------------------------------------------------------

_IMG = re.compile(r'<img\b[^>]*?\bsrc="([^"]+)"[^>]*>')
_GROUP, _ARROW = "The pages of this group", '<span class="toctree-toggle"'
_PRE = re.compile(r"(<pre\b.*?</pre>)", re.DOTALL)
_LITERAL = re.compile(r'<code class="[^"]*\bdocutils literal notranslate\b[^"]*">(.*?)</code>', re.DOTALL)


def lighten(html: str, folder: Path, unstyled: re.Pattern[str] | None) -> str:
    """A page that says the same in fewer bytes.

    Args:
        html: the page.
        folder: in which it lies.
        unstyled: matches the spans of highlighted code that no style sheet knows.
    """
    parts = _PRE.split(html)
    for number, part in enumerate(parts):
        if number % 2:
            while unstyled and (shorter := unstyled.sub(r"\2", part)) != part:
                part = shorter
            parts[number] = part
        else:
            part = _LITERAL.sub(lambda m: f'<code class="docutils literal">{_plain(m[1])}</code>', part)
            parts[number] = re.sub(r"\n\s*\n+", "\n", re.sub(r"\n[ \t]+", "\n", part))
    light = _IMG.sub(lambda m: _sized(m[0], folder / m[1]), "".join(parts))
    # The theme gives the arrow beside a group of pages no name.
    return light.replace('<summary><span class="toctree-toggle"', f'<summary aria-label="{_GROUP}">{_ARROW}')


def _plain(code: str) -> str:
    return re.sub(r'<span class="pre">([^<]*)</span>', r"\1", code)


def _sized(tag: str, path: Path) -> str:
    """An image with its size, so that the page does not move when it comes, and which is loaded when it is near."""
    added = ' loading="lazy" decoding="async"'
    if path.suffix == ".png" and path.is_file() and " width=" not in tag:
        with Image.open(path) as picture:
            width, height = picture.size
        added += f' width="{width}" height="{height}"'
    return tag if "loading=" in tag or "logo" in tag else f"{tag[:-1].rstrip('/')}{added}>"


# --- Sphinx --------------------------------------------------------------------------------------------------------


def choose_files(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Have each page load our two files. Only the page of the search needs Sphinx's scripts, too."""
    if app.builder.format != "html":
        return
    context["css_files"] = []
    context["script_files"] = [
        script
        for script in context["script_files"]
        if page == "search" and "_static/" in str(script.filename or "") and _is_of_the_search(str(script.filename))
    ]


def _is_of_the_search(name: str) -> bool:
    return name.endswith(
        ("documentation_options.js", "doctools.js", "sphinx_highlight.js", "searchtools.js", "language_data.js")
    )


def write_files(app: Sphinx, exception: Exception | None) -> None:
    """Write the style sheet, the script, the fonts and the pictures, and the pages again."""
    if exception or app.builder.format != "html":
        return
    site = Path(app.outdir)
    static = site / "_static"
    pages = [path for path in site.rglob("*.html") if static not in path.parents]
    script = "".join(next(static.glob(name)).read_text("utf-8") for name in SCRIPTS)
    names = Names()
    for path in pages:
        names.feed(path.read_text("utf-8"))
    names.classes |= set(re.findall(r"[\w-]+", script)) | {"show", "active", "highlighted"}
    names.tags |= {"dialog"}
    sheets = [path.read_text("utf-8") for name in STYLES for path in sorted(static.glob(name))]
    css = used_rules("\n".join(sheets).replace("../vendor/", "vendor/"), names)
    css = _with_fonts(css, static, names)
    styled = set(re.findall(r"\.highlight \.(\w+)", css))
    spans = {name for name in names.classes if len(name) <= 3} - styled
    unstyled = re.compile(rf'<span class="({"|".join(sorted(spans))})">([^<]*)</span>') if spans else None
    for picture in (site / "_images").glob("*.png"):
        shrink_picture(picture)
    version = hashlib.sha256(f"{css}{script}".encode()).hexdigest()[:8]
    (static / "site.css").write_text(css, "utf-8")
    (static / "site.js").write_text(script, "utf-8")
    for path in pages:
        html = lighten(path.read_text("utf-8"), path.parent, unstyled)
        path.write_text(re.sub(r"(_static/site\.(?:css|js))", rf"\1?v={version}", html), "utf-8")


def _with_fonts(css: str, static: Path, names: Names) -> str:
    """The style sheet, with the fonts that it needs, written with the letters that are needed."""
    icons = {letter for letter in css if "\ue000" <= letter <= "\uf8ff"}  # the range that fonts of icons use
    css = re.sub(r"@font-face ?\{[^}]*\}", "", css)
    (static / "icons.woff2").write_bytes(part_of_font((static / ICONS).read_bytes(), icons, layout=False))
    (static / "math.woff2").write_bytes(
        part_of_font(MATH_FONT.read_bytes(), names.letters | set(ALWAYS), layout=True)
    )
    faces = (
        '@font-face{font-family:"Font Awesome 6 Free";font-weight:900;font-display:block;src:url(icons.woff2)}'
        '@font-face{font-family:"STIX Two Math";font-display:swap;src:url(math.woff2)}'
    )
    return faces + css


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the functions above to Sphinx's events."""
    app.connect("html-page-context", choose_files, priority=950)
    app.connect("build-finished", write_files, priority=950)
    return {"version": "1.0", "parallel_read_safe": True, "parallel_write_safe": True}
