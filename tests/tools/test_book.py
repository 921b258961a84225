"""The build of the book: a chapter that fails fails the build, and what has not changed does not run again."""

import json
import os

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from nbval.plugin import IPyNbFile

from tests import built
from tools import notebooks


@pytest.fixture
def small_book(tmp_path, monkeypatch):
    """A book of one chapter in a folder of its own; a function that writes the chapter's cells."""
    (tmp_path / "book").mkdir()
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: book/one\n")
    for name, folder in (("ROOT", "."), ("CACHE", "cache"), ("LOGS", "logs")):
        monkeypatch.setattr(notebooks, name, (tmp_path / folder).resolve())
    path = tmp_path / "book" / "one.ipynb"

    def write(*sources, tags=()):
        cells = [new_markdown_cell("# One"), *(new_code_cell(s, metadata={"tags": list(tags)}) for s in sources)]
        nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": notebooks.KERNEL}), path)
        return path

    return write


def test_a_chapter_runs_once_and_again_when_it_changes(small_book):
    small_book("print(1 + 1)")
    assert [notebooks.run_chapters(1), notebooks.run_chapters(1)] == [1, 0]
    small_book("print(1 + 2)")
    assert [notebooks.run_chapters(1), notebooks.run_chapters(1)] == [1, 0]


def test_a_change_of_what_chapters_import_or_read_makes_them_run_again(small_book):
    path = small_book("print(1 + 1)")
    assert notebooks.run_chapters(1) == 1
    (path.parent / "data.csv").write_text("1")
    assert notebooks.run_chapters(1) == 1
    assert notebooks.run_chapters(1) == 0


def test_a_cell_that_fails_fails_the_build_and_is_named(small_book):
    small_book("x = 1", "x / 0")
    with pytest.raises(notebooks.BuildError, match=r"book/one\.ipynb, cell 3 \(x / 0\): ZeroDivisionError"):
        notebooks.run_chapters(1)
    with pytest.raises(notebooks.BuildError):
        notebooks.run_chapters(1)


def test_a_cell_that_is_meant_to_fail_may(small_book):
    small_book("1 / 0", tags=["raises-exception"])
    assert notebooks.run_chapters(1) == 1


def test_a_page_that_does_not_exist_is_named(small_book):
    small_book("1").unlink()
    with pytest.raises(notebooks.BuildError, match="there is no page book/one"):
        notebooks.run_chapters(1)


def test_storing_outputs_keeps_what_is_stable_and_drops_the_rest(small_book):
    path = small_book("print('a')\nprint('b')", tags=["t"])
    before = nbformat.read(path, as_version=4)
    before.metadata["widgets"] = {}
    before.cells[1].metadata["collapsed"] = False
    nbformat.write(before, path)
    for _ in range(2):  # the second time nothing has changed, but what was dropped
        assert notebooks.main() == 0
        stored = path.read_text()
    assert notebooks.main() == 0
    assert path.read_text() == stored
    _, cell = nbformat.read(path, as_version=4).cells
    assert [output.text for output in cell.outputs] == ["a\nb\n"]
    assert cell.metadata == {"tags": ["t"]}


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        ("", "", pytest.ExitCode.OK),
        ("printed", "print", pytest.ExitCode.TESTS_FAILED),
        ("3.5", "3.6", pytest.ExitCode.TESTS_FAILED),
        ("ZeroDivisionError", "ValueError", pytest.ExitCode.TESTS_FAILED),
    ],
)
def test_nbval_compares_what_the_build_has_kept(small_book, monkeypatch, old, new, status):
    path = small_book("print('printed')\n7 / 2", "", "1 / 0", tags=["raises-exception"])
    assert notebooks.main() == 0
    monkeypatch.setattr(built, "built_cache", notebooks.built_cache)
    monkeypatch.setattr(IPyNbFile, "setup", IPyNbFile.setup)  # it is put back afterwards
    built.use_the_build()
    stored = nbformat.read(path, as_version=4)
    for cell in stored.cells[1:]:
        cell.outputs = json.loads(json.dumps(cell.outputs).replace(old, new)) if old else cell.outputs
        cell.outputs = [nbformat.from_dict(output) for output in cell.outputs]
    nbformat.write(stored, path)
    options = ["--nbval", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(path.parent)]
    assert pytest.main([*options, str(path)]) == status


def test_nbval_does_not_take_an_older_run(small_book, monkeypatch):
    path = small_book("1")
    assert notebooks.main() == 0
    small_book("2")
    monkeypatch.setattr(built, "built_cache", notebooks.built_cache)
    monkeypatch.setattr(IPyNbFile, "setup", IPyNbFile.setup)
    built.use_the_build()
    options = ["--nbval", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(path.parent)]
    assert pytest.main([*options, str(path)]) == pytest.ExitCode.TESTS_FAILED
