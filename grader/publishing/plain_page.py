"""A page of feedback as plain text, for a notebook that cannot be shown with formats and colours.

In: a graded notebook with its marks and comments in the metadata. Out: HTML. The tables of the checks stay HTML,
because the grader itself has written them.
"""

from __future__ import annotations

import html

from nbformat.notebooknode import NotebookNode

from grader.gradebook.queries import NotebookMarks

_STYLE = """
body { font-family: sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #f6f6f6; padding: 0.6rem; }
section { border-top: 1px solid #bbb; }
td, th { text-align: left; padding: 0.1rem 0.8rem 0.1rem 0; }
"""


def plain_page(notebook: NotebookNode, assignment: str, marks: NotebookMarks, reason: str) -> str:
    """The HTML of a page of plain text.

    Args:
        notebook: graded, with marks and comments in its metadata.
        assignment: its name.
        marks: for the table at the top.
        reason: why there are no formats and colours, in a few words.
    """
    rows = [
        f"<tr><td>{html.escape(name)}</td><td>{score:g} / {marks.max_scores[name]:g}</td></tr>"
        for name, score in marks.scores.items()
    ]
    if marks.late_penalty:
        rows.append(f"<tr><td>submitted late</td><td>-{marks.late_penalty:g}</td></tr>")
    title = html.escape(assignment)
    return "\n".join(
        [
            f'<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{title}</title>',
            f"<style>{_STYLE}</style></head>\n<body>",
            f"<h1>{title} (Score: {marks.score:g} / {marks.max_score:g})</h1>",
            f"<p>This page shows the notebook as plain text. With formats and colours, {html.escape(reason)}.</p>",
            "<table>",
            *rows,
            "</table>",
            *(_section(cell) for cell in notebook.cells),
            "</body>\n</html>",
        ]
    )


def _section(cell: NotebookNode) -> str:
    own = cell.metadata.get("nbgrader", {})
    parts = [f"<pre>{html.escape(cell.source)}</pre>"]
    if "score" in own:
        name = html.escape(str(own["grade_id"]))
        parts.insert(0, f"<p><b>{name}</b>: {own['score']:g} / {own['points']:g}</p>")
    if own.get("comment"):
        parts.append(f"<p><b>Comments:</b> {html.escape(own['comment'])}</p>")
    for output in cell.get("outputs", ()):
        data = output.get("data", {})
        if own.get("locked") and "text/html" in data:
            parts.append(data["text/html"])
            continue
        text = "\n".join(output.get("traceback", ())) or output.get("text") or data.get("text/plain", "")
        parts.append(f"<pre>{html.escape(text or '(a picture)')}</pre>")
    return "<section>\n" + "\n".join(parts) + "\n</section>"
