"""A student in the real JupyterLab: open, run all, see the table, fill in the answer, see it pass."""

import re
import shutil
import time

import nbformat
import pytest
from playwright.sync_api import expect

from grader.authoring.fill_in import solution_cells
from tests import ROOT
from tests.jupyter import TOKEN, jupyterlab

NAME = "custom_layers"
SECONDS = 600_000  # ms; a kernel that imports torch on a busy machine takes its time


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab on a student's copy of the assignment; its address and the folder."""
    folder = tmp_path_factory.mktemp("student")
    shutil.copytree(ROOT / "exercises" / NAME, folder / NAME)
    shutil.copy(ROOT / "book" / "basics.ipynb", folder)
    with jupyterlab(folder, folder, ROOT / "tools" / "lab" / "student", folder) as address:
        yield address, folder / NAME


@pytest.fixture
def page(browser, lab):
    context = browser.new_context(viewport={"width": 1280, "height": 1600})
    opened = context.new_page()
    opened.set_default_timeout(SECONDS)
    yield opened
    context.close()


def open_notebook(page, lab, path):
    page.goto(f"{lab[0]}/lab/tree/{path}?token={TOKEN}&reset")
    expect(page.locator(".jp-Notebook")).to_be_visible(timeout=SECONDS)
    expect(page.locator(".jp-NotebookPanel-toolbar")).to_contain_text("Python 3", timeout=SECONDS)


def run_all(page):
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name=re.compile("^Run All Cells")).click()


def answer(page, stub, source):
    """Replace what stands in the cell that holds `stub`."""
    editor = page.locator(".jp-Notebook .cm-content", has_text=stub).first
    editor.click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(source)


def saved(folder):
    """The answer to `centered_layer` in the file."""
    return solution_cells(nbformat.read(folder / f"{NAME}.ipynb", as_version=4))["centered_layer"].source


def test_a_student_solves_the_exercises(lab, page, tmp_path):
    open_notebook(page, lab, f"{NAME}/{NAME}.ipynb")
    run_all(page)
    for name in ("centered_layer", "my_linear"):
        expect(page.locator(".jp-OutputArea-output", has_text=f"{name}: not answered yet")).to_be_visible(
            timeout=SECONDS
        )
    assert page.locator(".jp-OutputArea-output table").count() >= 2

    solution = nbformat.read(ROOT / "solutions" / NAME / f"{NAME}.ipynb", as_version=4)
    wrong = "class CenteredLayer(nn.Module):\n    def forward(self, X):\n        return X - X.mean(0)\n"
    answer(page, "class CenteredLayer", wrong)
    answer(page, "class MyLinear", solution_cells(solution)["my_linear"].source)
    run_all(page)
    outputs = page.locator(".jp-OutputArea-output")
    expect(outputs.filter(has_text="centered_layer: 1 of 4 points")).to_be_visible(timeout=SECONDS)
    expect(outputs.filter(has_text="subtracts a mean for each column")).to_be_visible(timeout=SECONDS)
    expect(outputs.filter(has_text="my_linear: 8 of 8 points")).to_be_visible(timeout=SECONDS)
    page.screenshot(path=str(tmp_path / "failing.png"))

    answer(page, "class CenteredLayer", solution_cells(solution)["centered_layer"].source)
    run_all(page)
    expect(outputs.filter(has_text="centered_layer: 4 of 4 points")).to_be_visible(timeout=SECONDS)
    page.screenshot(path=str(tmp_path / "passing.png"))
    assert page.get_by_text("Would you like to get notified").count() == 0
    assert page.get_by_text("Create Assignment").count() == 0
    assert page.get_by_role("button", name="Validate").count() == 1

    page.keyboard.press("Control+S")
    deadline = time.monotonic() + 300
    while "X.mean()" not in saved(lab[1]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert "X.mean()" in saved(lab[1])


def test_a_chapter_folds_its_answers_and_shows_no_markup(lab, page):
    open_notebook(page, lab, "basics.ipynb")
    folded = page.locator(".jp-Notebook details:not([open])")
    # JupyterLab draws the cells that are in sight; go down until there is an answer to unfold.
    panel = "document.querySelectorAll('.jp-WindowedPanel-outer')"
    scroll = f"part => {panel}.forEach(e => e.scrollTop = part * e.scrollHeight)"
    for step in range(1, 40):
        page.evaluate(scroll, step / 40)
        page.wait_for_timeout(500)
        shown = page.locator(".jp-RenderedMarkdown:visible")
        assert shown.filter(has_text="{admonition}").count() == 0
        assert shown.filter(has_text="(basics-").count() == 0
        if folded.count():
            break
    assert page.evaluate("""() => {
        const box = document.querySelector(".jp-Notebook details:not([open])");
        box.querySelector("summary").click();
        return box.open;
    }""")
