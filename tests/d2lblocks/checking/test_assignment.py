"""Which exercises `check` uses: those beside the notebook, or those that came with the installed package."""

import shutil
import sys

import pytest
from torch import nn

from d2lblocks import check
from d2lblocks.checking import assignment
from tests import ROOT


@pytest.fixture
def packaged(tmp_path, monkeypatch):
    """A notebook alone in a folder; the package holds the course's exercises, as its wheel does."""
    folder = tmp_path / "package"
    for release in (ROOT / "exercises").iterdir():
        (folder / release.name).mkdir(parents=True)
        shutil.copy(release / "public.json", folder / release.name)
    monkeypatch.setattr(assignment, "PACKAGED", folder)
    assignment._packaged.cache_clear()
    (tmp_path / "alone").mkdir()
    monkeypatch.chdir(tmp_path / "alone")
    yield folder
    assignment._packaged.cache_clear()


class CenteredLayer(nn.Module):
    def forward(self, X):
        return X - X.mean()


def test_an_exercise_is_found_in_whatever_assignment_it_is(packaged):
    assert check("centered_layer", CenteredLayer).passed
    assert "`raise NotImplementedError`" not in check("repeat_block", lambda make, n: None).headline


def test_a_name_is_looked_for_in_all_assignments(packaged):
    assert "did you mean 'centered_layer'?" in check("centred_layer", CenteredLayer).headline


def test_a_file_beside_the_notebook_comes_first(packaged, tmp_path):
    shutil.copy(packaged / "performance" / "public.json", tmp_path / "alone")
    assert "no exercise of this name" in check("centered_layer", CenteredLayer).headline


def test_without_a_name_the_assignment_is_the_one_that_the_notebook_answers(packaged, monkeypatch):
    assert "no cell with an answer has been run yet" in check().headline
    monkeypatch.setattr(sys.modules["__main__"], "CenteredLayer", CenteredLayer, raising=False)
    assert "centered_layer" in {report.name for report in check().reports}


def test_in_a_clone_the_exercises_are_those_beside_the_package(tmp_path, monkeypatch):
    assert assignment.PACKAGED == ROOT / "exercises"
    monkeypatch.chdir(tmp_path)
    assert check("centered_layer", CenteredLayer).passed


def test_without_any_exercises_the_message_says_where_to_open_the_notebook(tmp_path, monkeypatch):
    monkeypatch.setattr(assignment, "PACKAGED", tmp_path)
    assignment._packaged.cache_clear()
    monkeypatch.chdir(tmp_path)
    assert "open the notebook in its own folder" in check("centered_layer", CenteredLayer).headline
    assignment._packaged.cache_clear()
