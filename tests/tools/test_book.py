"""The build of the book: a chapter that fails fails the build, and what has not changed does not run again."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tools import book, notebooks


@pytest.fixture
def small_book(tmp_path, monkeypatch):
    """A book of one chapter in a folder of its own; a function that writes the chapter's cells."""
    (tmp_path / "book").mkdir()
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: book/one\n")
    for name, folder in (("ROOT", "."), ("CACHE", "cache"), ("LOGS", "logs")):
        monkeypatch.setattr(book, name, (tmp_path / folder).resolve())
    path = tmp_path / "book" / "one.ipynb"

    def write(*sources, tags=()):
        cells = [new_markdown_cell("# One"), *(new_code_cell(s, metadata={"tags": list(tags)}) for s in sources)]
        nbformat.write(new_notebook(cells=cells), path)
        return path

    return write


def test_a_chapter_runs_once_and_again_when_it_changes(small_book):
    small_book("print(1 + 1)")
    assert [book.run_chapters(1), book.run_chapters(1)] == [1, 0]
    small_book("print(1 + 2)")
    assert [book.run_chapters(1), book.run_chapters(1)] == [1, 0]


def test_a_change_of_what_chapters_import_or_read_makes_them_run_again(small_book):
    path = small_book("print(1 + 1)")
    assert book.run_chapters(1) == 1
    (path.parent / "data.csv").write_text("1")
    assert book.run_chapters(1) == 1
    assert book.run_chapters(1) == 0


def test_a_cell_that_fails_fails_the_build_and_is_named(small_book):
    small_book("x = 1", "x / 0")
    with pytest.raises(book.BuildError, match=r"book/one\.ipynb, cell 3 \(x / 0\): ZeroDivisionError"):
        book.run_chapters(1)
    with pytest.raises(book.BuildError):
        book.run_chapters(1)


def test_a_cell_that_is_meant_to_fail_may(small_book):
    small_book("1 / 0", tags=["raises-exception"])
    assert book.run_chapters(1) == 1


def test_a_page_that_does_not_exist_is_named(small_book):
    small_book("1").unlink()
    with pytest.raises(book.BuildError, match="there is no page book/one"):
        book.run_chapters(1)


def test_storing_outputs_keeps_what_is_stable_and_drops_the_rest(tmp_path):
    path = tmp_path / "n.ipynb"
    cells = [new_code_cell("print('a')\nprint('b')", metadata={"collapsed": False, "tags": ["t"]})]
    nbformat.write(new_notebook(cells=cells, metadata={"widgets": {}}), path)
    notebooks.run(path)
    first = path.read_text()
    notebooks.run(path)
    assert path.read_text() == first
    (cell,) = nbformat.read(path, as_version=4).cells
    assert [output.text for output in cell.outputs] == ["a\nb\n"]
    assert cell.metadata == {"tags": ["t"]}
