"""Notebooks in old formats, in other encodings, and files that are not notebooks."""

import codecs
import copy
import json

import nbformat
import pytest

from grader.errors import SubmissionError
from grader.submission.read import read_notebook, source_of
from grader.submission.repair import repair
from tests.grader.submission.notebooks import NAME, code_of, read_release, repaired, usual


def old_form(notebook, version):
    """A notebook in an older format, as that Jupyter wrote it: its sources are lists of lines."""
    writer = {2: nbformat.v2, 3: nbformat.v3}[version]
    return json.loads(writer.writes_json(nbformat.convert(copy.deepcopy(notebook), version)))


@pytest.mark.parametrize("version", [2, 3])
def test_older_formats_are_read(release, notebook, tmp_path, version):
    notebook.cells.append(nbformat.v4.new_markdown_cell("# A heading\n\nof my own"))
    form = old_form(notebook, version)
    assert isinstance(form["worksheets"][0]["cells"][1].get("input", []), list)
    path = tmp_path / "old.ipynb"
    path.write_text(json.dumps(form), encoding="utf-8")
    result = repaired(release, read_notebook(path))
    assert code_of(result) == usual()


def test_format_3_with_headings_outputs_and_two_sheets_is_read(tmp_path):
    heading = {"cell_type": "heading", "level": 2, "metadata": {}, "source": ["A heading\n", "in two lines"]}
    code = {
        "cell_type": "code",
        "collapsed": False,
        "input": ["x = 1\n", "x"],
        "language": "python",
        "metadata": {"nbgrader": {"grade_id": "my_linear", "solution": True}},
        "outputs": [{"output_type": "pyout", "prompt_number": 1, "metadata": {}, "text": ["1"]}],
        "prompt_number": 1,
    }
    form = {"metadata": {"name": ""}, "nbformat": 3, "nbformat_minor": 0}
    form["worksheets"] = [{"cells": [heading, code], "metadata": {}}, {"cells": [code], "metadata": {}}]
    path = tmp_path / "old.ipynb"
    path.write_text(json.dumps(form), encoding="utf-8")
    read = read_notebook(path)
    assert [cell.source for cell in read.cells] == ["## A heading in two lines", "x = 1\nx", "x = 1\nx"]
    assert read.cells[1].metadata.nbgrader.grade_id == "my_linear"


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: text.encode(),
        lambda text: codecs.BOM_UTF8 + text.encode(),
        lambda text: text.encode("utf-16"),
        lambda text: text.encode("utf-32"),
        lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
        lambda text: text.encode("utf-16-le"),
    ],
    ids=["UTF-8", "UTF-8 with a mark", "UTF-16", "UTF-32", "UTF-16 BE", "UTF-16 without a mark"],
)
def test_every_unicode_encoding_is_read(notebook, tmp_path, encode):
    notebook.cells.append(nbformat.v4.new_markdown_cell("größe 🧱"))
    path = tmp_path / "some.ipynb"
    path.write_bytes(encode(nbformat.writes(notebook)))
    assert source_of(read_notebook(path).cells[-1]) == "größe 🧱"


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"nbformat": 5, "cells": []}, "has the format 5; formats 1 to 4 can be read"),
        ({"nbformat": 0, "cells": []}, "has the format 0"),
        ({"nbformat": True, "cells": []}, "JSON, but not a notebook"),
        ({"nbformat": 3}, "^x.ipynb has no cells|damaged"),
        ({"nbformat": 3, "worksheets": [{"cells": [1]}]}, "has the old format 3 and is damaged"),
        ({"nbformat": 3, "worksheets": [{"cells": [{}] * 501}]}, "it has 501 cells, the maximum is 500"),
        ({"nbformat": 1, "cells": 7}, "has the old format 1 and is damaged"),
    ],
    ids=range(7),
)
def test_a_file_that_is_no_notebook_is_reported_in_one_line(tmp_path, form, words):
    path = tmp_path / "x.ipynb"
    path.write_text(json.dumps(form), encoding="utf-8")
    with pytest.raises(SubmissionError, match=words) as error:
        repair(read_release(NAME), read_notebook(path))
    assert "\n" not in str(error.value)
