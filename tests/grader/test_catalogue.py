"""The grader's own accuracy: each known wrong answer loses what it should and is named, each right one keeps all."""

import functools
import random
import re

import nbformat
import pytest

from d2lblocks.checking import judge as judging
from d2lblocks.checking.check import examine
from grader import pages
from grader.accuracy import measure, right_answers, table, try_mistake
from grader.authoring import assignments, define, load
from tests import ROOT

SEEDS = (0, 2026)

SOLUTIONS = ROOT / "solutions"
TASKS = {f"{a.name}.{task.name}": (a, task) for a in assignments(SOLUTIONS) for task in a.tasks.values()}
MISTAKES = [(name, mistake.id) for name, (_, task) in TASKS.items() for mistake in task.mistakes]
CHECKS = [(name, check.id) for name, (_, task) in TASKS.items() for check in task.checks]
RIGHT = [(name, other) for name, (a, task) in TASKS.items() for other in right_answers(task, SOLUTIONS / a.name)]


@functools.cache
def exercise(name, seed):
    return TASKS[name][1].exercise(seed)


def entry_of(name, mistake):
    (entry,) = (m for m in TASKS[name][1].mistakes if m.id == mistake)
    return entry


def test_every_exercise_of_the_course_is_here():
    assert [name for name in TASKS] == [
        *(
            f"control_flow.{name}"
            for name in ("fixed_hidden_mlp", "halve_per_sample", "stochastic_depth", "fixed_point")
        ),
        *(
            f"custom_layers.{name}"
            for name in ("centered_layer", "my_linear", "tensor_reduction", "half_fourier", "running_center")
        ),
        *(
            f"layers_and_blocks.{name}"
            for name in ("my_sequential", "mlp", "parallel_block", "repeat_block", "init_xavier")
        ),
        *(f"performance.{name}" for name in ("count_ops", "pairwise_distance", "batched_ensemble", "halve_bounded")),
    ]


@pytest.mark.parametrize("name", TASKS)
def test_a_catalogue_has_at_least_six_wrong_and_four_right_answers(name):
    assignment, task = TASKS[name]
    assert len(task.mistakes) >= 6
    assert len(right_answers(task, SOLUTIONS / assignment.name)) >= 4
    assert len({mistake.id for mistake in task.mistakes}) == len(task.mistakes)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("name", "mistake"), MISTAKES)
def test_a_mistake_fails_its_checks_and_only_those_and_is_told_its_own_message(name, mistake, seed):
    entry = entry_of(name, mistake)
    report = examine(exercise(name, seed), define(entry.source, TASKS[name][1].defines))
    assert {v.check.id for v in report.verdicts if v.status != "pass"} == entry.fails, report
    assert report.known is not None, report
    assert report.known.id == mistake


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("name", "other"), RIGHT)
def test_a_right_answer_gets_everything_and_no_message(name, other, seed):
    assignment, task = TASKS[name]
    source = right_answers(task, SOLUTIONS / assignment.name)[other]
    report = examine(exercise(name, seed), define(source, task.defines))
    assert report.passed, report
    assert report.known is None


@pytest.mark.parametrize("name", TASKS)
def test_right_answers_are_right_whatever_the_seed(name):
    assignment, task = TASKS[name]
    right = right_answers(task, SOLUTIONS / assignment.name)
    for _ in range(3):  # other seeds in every run; `python -m grader accuracy --seeds 1000` tries many
        seed, other = random.randrange(10**6), random.choice(list(right))
        report = examine(task.exercise(seed), define(right[other], task.defines))
        assert report.passed, (seed, other, report)


@pytest.mark.parametrize(("name", "check"), CHECKS)
def test_every_check_is_failed_by_some_mistake_alone_or_first(name, check):
    _, task = TASKS[name]
    order = [c.id for c in task.checks]
    assert any(min(mistake.fails, key=order.index) == check for mistake in task.mistakes)


@pytest.mark.parametrize(("name", "check"), CHECKS)
def test_a_check_that_always_passes_is_noticed(name, check, monkeypatch):
    _, task = TASKS[name]
    honest = judging._judge_check

    def mutated(of, observed, expected):
        return judging.Verdict(of, "pass", of.points, "") if of.id == check else honest(of, observed, expected)

    monkeypatch.setattr(judging, "_judge_check", mutated)
    concerned = [mistake for mistake in task.mistakes if check in mistake.fails]
    assert not all(try_mistake(task, mistake, [exercise(name, 0)])[0] for mistake in concerned)


@pytest.mark.parametrize("name", TASKS)
def test_secret_cases_depend_on_the_seed_alone(name):
    _, task = TASKS[name]

    def cases(seed):
        return [
            (case.build, case.seed, [tensor.tolist() for tensor in (*case.inputs, *case.state.values())])
            for case in exercise(name, seed).cases
        ]

    public = len(task.public)
    assert repr(cases(0)) == repr(cases(0))
    assert repr(cases(0)[:public]) == repr(cases(1)[:public])
    assert repr(cases(0)[public:]) != repr(cases(1)[public:])


@pytest.mark.parametrize("name", TASKS)
def test_no_case_is_left_over_and_no_check_without_one(name):
    _, task = TASKS[name]
    groups = {group for check in task.checks for group in check.on}
    assert {case.group for case in exercise(name, 0).cases} <= groups
    for check in exercise(name, 0).checks:
        assert any(case in task.public for case in check.cases), check.id


@pytest.mark.parametrize("name", TASKS)
def test_the_points_in_the_notebook_are_those_of_the_checks(name):
    assignment, task = TASKS[name]
    notebook = nbformat.read(SOLUTIONS / assignment.name / f"{assignment.name}.ipynb", as_version=4)
    points = {
        cell.metadata.nbgrader.grade_id: cell.metadata.nbgrader.points
        for cell in notebook.cells
        if cell.metadata.get("nbgrader", {}).get("grade")
    }
    assert points[f"test_{task.name}"] == sum(check.points for check in task.checks)
    # Stated at the top and above the exercise.
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert text.count(f"{points[f'test_{task.name}']} points") >= 1


@pytest.mark.parametrize(("name", "mistake"), MISTAKES)
def test_the_section_to_read_exists(name, mistake):
    page, _, label = entry_of(name, mistake).see.partition(".html#")
    chapter = nbformat.read(ROOT / "book" / f"{page}.ipynb", as_version=4)
    assert any(f"({label})=" in cell.source.splitlines() for cell in chapter.cells if cell.cell_type == "markdown")


@pytest.mark.parametrize(("name", "mistake"), MISTAKES)
def test_a_message_is_two_sentences(name, mistake):
    message = entry_of(name, mistake).message
    assert 40 < len(message) < 420
    assert message.endswith((".", "?", "!"))
    words = re.sub(r"`[^`]*`", "code", message)
    assert len(re.findall(r"[.?!](?=\s|$|\))", words)) == 2


def test_the_accuracy_table_says_what_was_found():
    found = measure(SOLUTIONS / "custom_layers", "centered_layer", seeds=4)
    assert found.wrong == found.caught == found.named >= 6
    assert not found.false_alarms
    assert 0 <= found.used < 0.5
    assert "centered_layer" in repr(table([found]))


def test_the_page_of_common_mistakes_is_what_the_catalogues_give():
    folders = pages.in_the_books_order((SOLUTIONS / a.name for a in assignments(SOLUTIONS)), ROOT / "_toc.yml")
    assert [folder.name for folder in folders] == [
        "layers_and_blocks",
        "custom_layers",
        "control_flow",
        "performance",
    ]
    page = pages.mistakes_page((load(folder), folder) for folder in folders)
    assert pages.same(page, ROOT / "book" / "guides" / "mistakes.md"), "run: python -m grader mistakes"
    for name, mistake in MISTAKES:
        assert f"(mistake-{name.partition('.')[2]}-{mistake})=".replace("_", "-") in page


def test_an_excerpt_shows_the_wrong_lines_and_what_they_stand_in():
    right = (
        "class A(nn.Module):\n    def forward(self, X: Tensor) -> Tensor:\n        Y = X + 1\n        return Y * 2\n"
    )
    wrong = "class A(nn.Module):\n    def forward(self, X):\n        Y = X + 1\n        return Y * 3\n"
    shown = "class A(nn.Module):\n    def forward(self, X):\n        ...\n        return Y * 3"
    assert pages.excerpt(wrong, [right]) == shown
