"""The grader's own accuracy: each known wrong answer loses what it should and is named, each right one keeps all.

These rules hold for every exercise: of each folder of `solutions/`, and of the example in the guide for maintainers.
What this course demands of its own exercises besides is in `test_this_course.py`.
"""

import functools
import re
import tempfile
from pathlib import Path
from random import Random

import nbformat
import pytest

from d2lblocks.checking import judge as judging
from d2lblocks.checking.pipeline import conclude, examine, observe_all
from d2lblocks.checking.report import anchor
from d2lblocks.checking.runner import observe
from grader.authoring import mistakes_page
from grader.authoring.exercise import assignments, define, load
from grader.errors import ReleaseError
from tests import ROOT
from tests.guide import write_example

SEEDS = (0, 2026)
DRAWN_SEEDS = 3  # for each exercise, drawn from `--seed`

SOLUTIONS = ROOT / "solutions"
_BASE = tempfile.TemporaryDirectory()
FOLDERS = {a.name: SOLUTIONS / a.name for a in assignments(SOLUTIONS)}
FOLDERS["the guide's"] = write_example(Path(_BASE.name, "solutions"))
TASKS = {f"{name}.{task.name}": (f, task) for name, f in FOLDERS.items() for task in load(f).exercises.values()}
MISTAKES = [(name, mistake.id) for name, (_, task) in TASKS.items() for mistake in task.mistakes]
CHECKS = [(name, check.id) for name, (_, task) in TASKS.items() for check in task.checks]
RIGHT_ANSWERS = {name: task.right_answers for name, (_, task) in TASKS.items()}
RIGHT = [(name, other) for name, answers in RIGHT_ANSWERS.items() for other in answers]


@functools.cache
def exercise(name, seed):
    return TASKS[name][1].exercise(seed)


@functools.cache
def examined(name, mistake, seed):
    """The report on a mistake, and what was observed: the slow part, done once for all tests."""
    answer = define(entry_of(name, mistake).source, TASKS[name][1].defines)
    observed, printed = observe_all(exercise(name, seed), functools.partial(observe, answer))
    return conclude(exercise(name, seed), observed, printed), observed


def entry_of(name, mistake):
    (entry,) = (m for m in TASKS[name][1].mistakes if m.id == mistake)
    return entry


def pytest_generate_tests(metafunc):
    """Seeds that are drawn stand in the name of the test; `--seed` draws others."""
    if "drawn_seed" in metafunc.fixturenames:
        base = metafunc.config.getoption("--seed")
        drawn = [(name, Random(f"{base} {name}")) for name in TASKS]
        values = [(name, chance.randrange(10**6)) for name, chance in drawn for _ in range(DRAWN_SEEDS)]
        metafunc.parametrize(("name", "drawn_seed"), values)


@pytest.mark.parametrize("name", TASKS)
def test_no_two_mistakes_of_an_exercise_have_the_same_name(name):
    _, task = TASKS[name]
    assert task.mistakes
    assert len({mistake.id for mistake in task.mistakes}) == len(task.mistakes)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("name", "mistake"), MISTAKES)
def test_a_mistake_fails_its_checks_and_only_those_and_is_told_its_own_message(name, mistake, seed):
    entry = entry_of(name, mistake)
    report, _ = examined(name, mistake, seed)
    assert {v.check.id for v in report.verdicts if not v.passed} == entry.fails, report
    assert report.known is not None, report
    assert report.known.id == mistake


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("name", "other"), RIGHT)
def test_a_right_answer_gets_everything_and_no_message(name, other, seed):
    report = examine(exercise(name, seed), define(RIGHT_ANSWERS[name][other], TASKS[name][1].defines))
    assert report.passed, report
    assert report.known is None


def test_right_answers_are_right_whatever_the_seed(name, drawn_seed):
    """`python -m grader accuracy --seeds 1000` tries many more."""
    _, task = TASKS[name]
    other = Random(drawn_seed).choice(sorted(RIGHT_ANSWERS[name]))
    report = examine(task.exercise(drawn_seed), define(RIGHT_ANSWERS[name][other], task.defines))
    assert report.passed, (other, report)


@pytest.mark.parametrize(("name", "check"), CHECKS)
def test_every_check_is_failed_by_some_mistake_alone_or_first(name, check):
    _, task = TASKS[name]
    order = [c.id for c in task.checks]
    assert any(min(mistake.fails, key=order.index) == check for mistake in task.mistakes)


@pytest.mark.parametrize(("name", "check"), CHECKS)
def test_a_check_that_always_passes_is_noticed(name, check, monkeypatch):
    _, task = TASKS[name]
    honest = judging.Judging._verdict

    def mutated(self, of):
        return judging.Verdict(of, judging.Status.PASSED, of.points) if of.id == check else honest(self, of)

    concerned = [mistake for mistake in task.mistakes if check in mistake.fails]
    assert concerned
    seen = [examined(name, mistake.id, SEEDS[0])[1] for mistake in concerned]
    monkeypatch.setattr(judging.Judging, "_verdict", mutated)
    for mistake, observed in zip(concerned, seen, strict=True):
        verdicts = judging.judge(exercise(name, SEEDS[0]), observed)
        assert {v.check.id for v in verdicts if not v.passed} != mistake.fails


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
    folder, task = TASKS[name]
    notebook = nbformat.read(folder / f"{folder.name}.ipynb", as_version=4)
    points = {
        cell.metadata.nbgrader.grade_id: cell.metadata.nbgrader.points
        for cell in notebook.cells
        if cell.metadata.get("nbgrader", {}).get("grade")
    }
    assert points[f"test_{task.name}"] == sum(check.points for check in task.checks)


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


CACHE = ROOT / "_build" / "mistakes.json"  # of `make book`


def test_the_page_of_common_mistakes_has_an_entry_for_each():
    folders = [SOLUTIONS / a.name for a in assignments(SOLUTIONS)]
    pages = mistakes_page.mistakes_pages(map(load, folders), ROOT / "exercises", CACHE)
    for name, (folder, task) in TASKS.items():
        if folder in folders:
            page = pages[folder.name]
            for mistake in task.mistakes:
                start = page.index(f"({anchor(task.name, mistake.id)})=\n### {mistake.title}\n")
                entry = page[start:].split("\n(mistake", 1)[0]
                assert entry.count("\n- ") == len(mistake.fails), (name, mistake.id)
                assert all(text in entry for text in (mistake.why, mistake.remedy)), (name, mistake.id)


def test_the_page_of_common_mistakes_is_written_only_if_it_changes(tmp_path):
    """A page that is written anew lets Sphinx read it again."""
    arguments = (SOLUTIONS, ROOT / "exercises", ROOT / "_toc.yml", tmp_path / "mistakes", CACHE, 1)
    mistakes_page.write_mistakes_pages(*arguments)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.md")}
    assert len(before) == 1 + len([*assignments(SOLUTIONS)])
    mistakes_page.write_mistakes_pages(*arguments)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.md")} == before


def test_a_mistake_that_is_not_released_is_not_left_out_silently(tmp_path):
    folder = write_example(tmp_path / "solutions")
    assert mistakes_page.mistakes_pages([load(folder)], tmp_path / "exercises") == {}
    release = tmp_path / "exercises" / folder.name
    release.mkdir(parents=True)
    (release / "public.json").write_text('{"exercises": {}, "by_hand": {}}', encoding="utf-8")
    with pytest.raises(ReleaseError, match="scale is not released; first: python -m grader release warm_up"):
        mistakes_page.mistakes_pages([load(folder)], tmp_path / "exercises")


def test_an_excerpt_shows_the_wrong_lines_and_what_they_stand_in():
    right = (
        "class A(nn.Module):\n    def forward(self, X: Tensor) -> Tensor:\n        Y = X + 1\n        return Y * 2\n"
    )
    wrong = "class A(nn.Module):\n    def forward(self, X):\n        Y = X + 1\n        return Y * 3\n"
    shown = "class A(nn.Module):\n    def forward(self, X):\n        ...\n        return Y * 3"
    assert mistakes_page.excerpt(wrong, [right]) == shown
