"""`check`, as a student meets it: in the folder of a released assignment."""

import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from d2lblocks import check
from d2lblocks.checking import assignment
from d2lblocks.checking.report import explain
from tests import ROOT


@pytest.fixture(autouse=True)
def in_the_students_folder(monkeypatch):
    monkeypatch.chdir(ROOT / "exercises" / "custom_layers")


class Right(nn.Module):
    def forward(self, X):
        return X - X.mean()


class Unanswered(nn.Module):
    def forward(self, X):
        raise NotImplementedError


class BatchMean(nn.Module):
    def forward(self, X):
        print("the mean is", X.mean(0))
        return X - X.mean(0)


def test_a_right_answer_passes():
    report = check("centered_layer", Right)
    assert report.passed
    assert report.headline == "centered_layer: 4 of 4 points"
    assert repr(report).count("✓") == 3


def test_an_untouched_stub_reads_not_answered_yet():
    report = check("centered_layer", Unanswered)
    assert report.headline == "centered_layer: not answered yet, `raise NotImplementedError` is still in it"
    assert "It raised" not in repr(report)


def test_a_known_mistake_is_named_with_a_place_to_read():
    report = check("centered_layer", BatchMean)
    assert report.points == 1
    for text in (repr(report), report._repr_html_()):
        assert "subtracts a mean for each column" in text
        assert "custom_layers." in text
        assert "the mean is tensor(" in text


def test_an_unknown_mistake_gets_the_observation_and_no_guess():
    class Other(nn.Module):
        def forward(self, X):
            return X - X.median()

    report = check("centered_layer", Other)
    assert report.known is None
    assert "the reference's is" in repr(report)
    assert "Read in the book: custom_layers.html#" in repr(report)
    assert "custom_layers.ipynb#" in report._repr_html_()


@pytest.mark.parametrize(
    ("name", "answer", "line"),
    [
        ("centred_layer", Right, "did you mean 'centered_layer'?"),
        ("x", Right, "there are centered_layer, my_linear, tensor_reduction"),
        ("centered_layer", Right(), "give the class itself, check('centered_layer', CenteredLayer)"),
        ("centered_layer", 3, "this is a int; give CenteredLayer"),
        (Right, "centered_layer", "the name comes first, in quotes, then the class"),
        ("centered_layer", type("MyLinear", (nn.Module,), {}), "this is MyLinear; here CenteredLayer is asked for"),
    ],
)
def test_a_wrong_use_gets_one_clear_line(name, answer, line):
    report = check(name, answer)
    assert not report.passed
    assert report.points == 0
    assert line in repr(report)
    assert len(repr(report).splitlines()) == 1


def test_a_changed_signature_is_said_as_it_is():
    class Two(nn.Module):
        def __init__(self, size):
            super().__init__()

    assert "missing 1 required positional argument: 'size'" in repr(check("centered_layer", Two))


@pytest.fixture
def no_exercises(monkeypatch, tmp_path):
    """A folder without `public.json`, and a package that came without exercises."""
    monkeypatch.setattr(assignment, "PACKAGED", tmp_path)
    assignment._packaged.cache_clear()
    monkeypatch.chdir(tmp_path)
    yield
    assignment._packaged.cache_clear()


def test_in_another_folder_it_says_where_it_looked(no_exercises, tmp_path):
    assert f"public.json is not in {tmp_path}" in repr(check("centered_layer", Right))


def test_a_damaged_file_is_said_to_be_damaged(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for text in ("{", "{}", '{"exercises": {"centered_layer": {}}}'):
        (tmp_path / "public.json").write_text(text)
        assert "take a fresh copy" in repr(check("centered_layer", Right))


def test_an_answer_without_end_is_stopped_for_every_check():
    class Endless(nn.Module):
        def forward(self, X):
            while True:
                X = X + torch.zeros(1)

    report = check("centered_layer", Endless)
    assert [verdict.status for verdict in report.verdicts] == ["timeout"] * 3


@pytest.mark.parametrize("mode", ["validate", None])
def test_nbgraders_validate_reads_failure_on_stderr_and_points_as_a_number(mode, monkeypatch, capsys):
    if mode:
        monkeypatch.setenv("NBGRADER_EXECUTION", mode)
    for answer, passes, points in ((Right, True, "4.0"), (BatchMean, False, "1.0")):
        bundle = check("centered_layer", answer)._repr_mimebundle_()
        stderr = capsys.readouterr().err
        assert bool(stderr) == (mode == "validate" and not passes)
        assert (bundle["text/plain"] == points) == (mode == "validate")
        assert "<table" in bundle["text/html"]


class NoReturn(nn.Module):
    def forward(self, X):
        X - X.mean()


class Misspelt(nn.Module):
    def foward(self, X):
        return X - X.mean()


class NoSuper(nn.Module):
    def __init__(self):
        self.weight = nn.Parameter(torch.ones(1))


class Asks(nn.Module):
    def forward(self, X):
        input("how many? ")
        return X


class NoModule:
    def __call__(self, X):
        return X - X.mean()


class GivesALayer(nn.Module):
    def forward(self, X):
        return nn.ReLU(X)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (NoReturn, "Does `forward` end with a `return`?"),
        (Misspelt, "Is `forward` spelled correctly"),
        (NoSuper, "Begin `__init__` with `super().__init__()`"),
        (Asks, "an answer must not wait for input"),
        (NoModule, "The kind of object is NoModule; the reference's is nn.Module."),
        (GivesALayer, "It gave a ReLU, which is neither a tensor nor plain data."),
    ],
)
def test_a_slip_is_met_with_the_way_out(answer, words):
    report = check("centered_layer", answer)
    assert not report.passed
    assert words in " ".join(repr(report).split())
    shown = [explain(v) for v in report.verdicts if v.message and not v.is_repeated]
    assert len(shown) == len({v.message for v in report.verdicts if v.message})


def test_a_parameter_of_another_dtype_is_noticed():
    class Mixed(nn.Module):
        def __init__(self, in_units, units):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(in_units, units))
            self.bias = nn.Parameter(torch.randn(units, dtype=torch.float64))

        def forward(self, X):
            return torch.relu(X @ self.weight + self.bias)

    report = check("my_linear", Mixed)
    assert "The output is float64; the reference's is float32." in " ".join(repr(report).split())


def test_what_an_answer_prints_is_shown_up_to_a_point():
    class Loud(Right):
        def forward(self, X):
            print("x" * 10_000)
            return super().forward(X)

    report = check("centered_layer", Loud)
    assert report.passed
    assert len(repr(report)) < 4_000
    assert "characters more" in repr(report)


@pytest.fixture
def notebook(monkeypatch):
    """The names that a notebook defines."""

    class Main:
        pass

    monkeypatch.setitem(sys.modules, "__main__", Main)
    return Main


def test_without_an_answer_it_takes_what_the_notebook_defines(notebook):
    assert "CenteredLayer is not defined yet; run its cell first" in repr(check("centered_layer"))
    notebook.CenteredLayer = Right
    assert check("centered_layer").passed


def test_without_a_name_it_shows_the_progress_over_the_assignment(notebook):
    notebook.CenteredLayer = BatchMean
    notebook.MyLinear = Unanswered
    progress = check()
    states = {report.name: report.state for report in progress.reports}
    assert states["centered_layer"] == "✗ 2 of 3 checks fail"
    assert states["tensor_reduction"] == "○ its cell has not been run"
    assert progress.points == 1
    assert progress.most_points == 36
    text = repr(progress)
    assert "1 of 36 points; 0 of 5 exercises are complete" in text
    assert text.count("█") == 1
    assert "<table" in progress._repr_html_()
    assert "width:2.8%" in progress._repr_html_()


def test_an_answer_in_words_is_listed_and_not_checked(monkeypatch, notebook):
    monkeypatch.chdir(ROOT / "exercises" / "layers_and_blocks")
    assert "is marked by hand" in repr(check())
    assert "marked by a person" in repr(check("list_of_modules", "my answer"))


def test_the_progress_of_another_folder_says_where_it_looked(no_exercises, tmp_path):
    assert f"public.json is not in {tmp_path}" in repr(check())


def test_links_lead_to_the_book_where_it_is(monkeypatch, tmp_path):
    report = check("centered_layer", BatchMean)
    html = report._repr_html_()
    assert 'href="../../book/custom_layers.ipynb#custom-layers-without-parameters"' in html
    assert 'href="../../book/guides/mistakes/custom_layers.md#mistake-centered-layer-batch-mean"' in html
    online = replace(report, book="https://example.org/book/")._repr_html_()
    assert 'href="https://example.org/book/custom_layers.html#custom-layers-without-parameters"' in online
    assert (
        'href="https://example.org/book/guides/mistakes/custom_layers.html#mistake-centered-layer-batch-mean"'
        in online
    )
    assert "href" not in replace(report, graded=True)._repr_html_()
    monkeypatch.chdir(tmp_path)  # a notebook that lies alone
    assert "href" not in report._repr_html_()
