"""What the site needs beyond the theme: a way to run each chapter, alt texts that are there, and a lighter page.

Sphinx loads this file because `_config.yml` names it under `local_extensions`.
"""

from __future__ import annotations

import re
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.osutil import relative_uri

logger = logging.getLogger(__name__)

_IMG = re.compile(r"<img\b[^>]*>", re.IGNORECASE)
_DESCRIPTION = 160  # characters; search engines cut off what is longer
_ALT = re.compile(r"\balt\s*=\s*(\"[^\"]*\S[^\"]*\"|'[^']*\S[^']*')", re.IGNORECASE)


def add_way_to_run(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Put a line under the title of every chapter: where to run it, where to download it."""
    source = app.env.doc2path(docname, base=False)
    title = next(doctree.findall(nodes.title), None)
    is_chapter = source.endswith(".ipynb") and docname != app.config.root_doc
    if not is_chapter or title is None or app.builder.format != "html":
        return
    # html_copy_source puts every source file, notebooks with their stored outputs, below _sources/.
    url = relative_uri(app.builder.get_target_uri(docname), f"_sources/{source}")
    line = (
        '<p class="course-run">Run it yourself: in a clone of this course, <code>make lab</code> opens JupyterLab; '
        f"there open <code>{escape(source)}</code>. "
        f'<a href="{escape(url)}" download>Download this page as a notebook</a></p>'
    )
    title.parent.insert(title.parent.index(title) + 1, nodes.raw("", line, format="html"))


def check_alt_texts(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Warn, and so fail the build, about each image that says nothing to somebody who cannot see it."""
    how = "give the code cell the metadata {'mystnb': {'image': {'alt': '...'}}}, or the Markdown image a text in [ ]"
    for image in doctree.findall(nodes.image):
        if not image.get("alt", "").strip():
            logger.warning("%s has no alt text: %s", _place(image), how, location=docname, type="course")
    for raw in doctree.findall(nodes.raw):
        for tag in _IMG.findall(raw.astext()):
            if not _ALT.search(tag):
                logger.warning("%s, %s, has no alt text", _place(raw), tag[:60], location=docname, type="course")


def _place(node: nodes.Element) -> str:
    """Which image `node` is, in words that lead its author there: an output knows its cell, Markdown its file."""
    parent: nodes.Node | None = node
    while parent is not None:
        if isinstance(parent, nodes.Element) and "cell_index" in parent:
            return f"an image in cell {parent['cell_index'] + 1}"
        parent = parent.parent
    return f"the image {node.get('uri', 'in HTML')}"


def drop_empty_lists(app: Sphinx, doctree: nodes.document) -> None:
    """Remove the empty list that autodoc leaves under a class: in HTML a list without entries is an error."""
    for fields in list(doctree.findall(nodes.field_list)):
        if not fields.children:
            fields.parent.remove(fields)


def describe(app: Sphinx, doctree: nodes.document) -> None:
    """Give a page without a description its first paragraph as one, for search engines and previews of links."""
    if any(node.get("name") == "description" for node in doctree.findall(nodes.meta)):
        return
    for section in doctree.findall(nodes.section):
        for paragraph in section.children:
            if isinstance(paragraph, nodes.paragraph):
                words = " ".join(paragraph.astext().split())
                text = words if len(words) <= _DESCRIPTION else words[:_DESCRIPTION].rsplit(" ", 1)[0] + " …"
                doctree += nodes.meta("", name="description", content=text)
                return


def tidy_meta_tags(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Drop the address that sphinxext-opengraph gives: nobody knows where this site will be published."""
    context["metatags"] = re.sub(r'<meta property="og:url"[^>]*>\n?', "", context.get("metatags", ""))


def fold_answers(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Write each admonition that is folded as `<details>`, which needs no script and works in every reader."""
    if app.builder.format != "html":
        return
    for box in list(doctree.findall(nodes.Admonition)):
        if not isinstance(box, nodes.Element) or not {"dropdown", "toggle"} & set(box.get("classes", [])):
            continue
        title = box.children[0].astext() if isinstance(box.children[0], nodes.title) else "Answer"
        start = f'<details class="course-fold"><summary>{escape(title)}</summary>'
        inside = [child for child in box.children if not isinstance(child, nodes.title)]
        made = [nodes.raw("", start, format="html"), *inside, nodes.raw("", "</details>", format="html")]
        box.parent.replace(box, made)  # `replace_self` would give the first one the classes of the box


def write_start_page(app: Sphinx, exception: Exception | None) -> None:
    """Write index.html at the top of the site, which leads to the first page, as a page with language and title."""
    if exception or app.builder.format != "html":
        return
    first = escape(app.builder.get_target_uri(app.config.root_doc))
    title = escape(app.config.html_title)
    Path(app.outdir, "index.html").write_text(
        f'<!DOCTYPE html>\n<html lang="{escape(app.config.language)}">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{title}</title>\n'
        f'<meta http-equiv="refresh" content="0; url={first}">\n'
        # Without it browsers ask for /favicon.ico, which is not there.
        f'<link rel="icon" href="_static/{Path(app.config.html_favicon).name}">\n</head>\n'
        f'<body><main><h1>{title}</h1><p><a href="{first}">Go to the course</a></p></main></body>\n</html>\n',
        encoding="utf-8",
    )


def drop_unused_files(app: Sphinx, exception: Exception | None) -> None:
    """Remove what no page loads: source maps, templates, the script of icons, fonts in a format of the past.

    The icons come from the web font (see templates/static/webpack-macros.html).
    """
    if exception or app.builder.format != "html":
        return
    static = Path(app.outdir, "_static")
    unused = (
        "**/*.map",
        "*webpack-macros.html",
        "images/logo_*",
        "locales",
        "scripts/fontawesome.js*",
        "vendor/fontawesome/webfonts/*.ttf",
    )
    for pattern in unused:
        for path in static.glob(pattern):
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        for child in path.iterdir():
            _remove(child)
        path.rmdir()
    else:
        path.unlink()


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the functions above to Sphinx's events."""
    # Jupyter Book sets this option of sphinx_comments, which this site does without.
    app.add_config_value("comments_config", {}, "")
    app.connect("doctree-read", drop_empty_lists)
    app.connect("doctree-read", describe)
    app.connect("html-page-context", tidy_meta_tags, priority=900)
    # The alt texts first: the line for running is ours and has no image.
    app.connect("doctree-resolved", check_alt_texts)
    app.connect("doctree-resolved", add_way_to_run)
    app.connect("doctree-resolved", fold_answers)
    # Before sphinx_external_toc (500), which writes a bare redirect if there is no index.html.
    app.connect("build-finished", write_start_page, priority=400)
    app.connect("build-finished", drop_unused_files, priority=900)
    return {"version": "1.0", "parallel_read_safe": True, "parallel_write_safe": True}
