"""Formulas as MathML, made from TeX when the site is built. The browser sets them: there is no script to load.

In:  the `math` and `math_block` nodes that MyST makes of ``$...$``, ``$$...$$`` and AMS environments.
Out: `<math>` elements, drawn with a part of the font STIX Two Math (see `site_files.py`).
"""

from __future__ import annotations

from html import escape
from typing import Any

from docutils import nodes
from math_core import LatexError, LatexToMathML
from sphinx.application import Sphinx
from sphinx.errors import NoUri
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

logger = logging.getLogger(__name__)
_convert = LatexToMathML(fancy_error=False)


def to_mathml(tex: str, *, display: bool) -> str:
    """A formula as MathML.

    Args:
        tex: without dollar signs.
        display: whether it stands on a line of its own.

    Raises:
        ValueError: the TeX is wrong, or uses a command that cannot be converted; the message says which.
    """
    try:
        return _convert.convert_with_local_state(tex.strip(), displaystyle=display)
    except LatexError as error:
        raise ValueError(" ".join(str(error).split())) from error


def _mathml(node: nodes.Element, *, display: bool) -> str:
    try:
        return to_mathml(node.astext(), display=display)
    except ValueError as error:
        logger.warning("formula %r: %s", node.astext()[:80], error, location=node, type="course")
        return f"<code>{escape(node.astext())}</code>"


def visit_inline(self: Any, node: nodes.math) -> None:
    """Write a formula that stands in a line of text."""
    self.body.append(f'<span class="math">{_mathml(node, display=False)}</span>')
    raise nodes.SkipNode


def visit_display(self: Any, node: nodes.math_block) -> None:
    """Write a formula that has a line of its own, with its number if it has one."""
    number = ""
    if node.get("number"):
        try:
            number = f'<span class="eqno">({get_node_equation_number(self, node)})</span>'
        except (NoUri, KeyError):
            number = ""
    self.body.append(self.starttag(node, "div", CLASS="math"))
    self.body.append(f"{_mathml(node, display=True)}{number}</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer; `_config.yml` chooses it: ``html_math_renderer: mathml``."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_display, None))
    return {"version": "1.0", "parallel_read_safe": True, "parallel_write_safe": True}
