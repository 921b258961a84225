"""All attacks, through the whole path, with an innocent student before, beside and after each.

All of `tests/attacks` is submitted in one class, with an innocent student between any two of them. The real command
grades it with two jobs. No attack gets more than an honest answer, nobody else loses anything, and nothing outside is
changed.
"""

import json

import nbformat
import pytest

from grader.__main__ import main
from tests.attacks import ATTACKED, ATTACKS, MARK, NAME, POINTS, READ, Attack, shown_in
from tests.attacks.base import ATTEMPT
from tests.attacks.whole_class import FIRST, grade_everybody, mallory, neighbour, notebook_of
from tests.isolation import isolation_problem

WHY_NOT = isolation_problem()
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=f"this machine cannot isolate: {WHY_NOT}")


@pytest.fixture(scope="module")
def graded(course):
    return grade_everybody(course, (*ATTACKS, DEAD))


# It fails before its attempt, although its cell marks one.
DEAD = Attack("dead", "looks for a key that is not there", "{}['cases']\nattempt()\n")


def test_nobody_else_loses_anything(graded):
    innocent = (FIRST, *map(neighbour, (*ATTACKS, DEAD)))
    for student in innocent:
        assert graded.marks.get(student) == POINTS, student
    assert graded.marks.keys() <= {*innocent, *map(mallory, (*ATTACKS, DEAD))}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.id)
def test_it_gets_what_it_has_earned(attack, graded, course):
    said = graded.said[mallory(attack)]
    notebook = notebook_of(course, attack)
    assert attack.got_to_its_attempt(said, notebook)
    assert "an error of the grader" not in said
    assert said.replace("\n", "").isprintable()  # nothing that a terminal takes for a command
    marks = graded.marks.get(mallory(attack), {})
    assert ("FAILED" in said) == (not attack.graded) == (not marks) == (notebook is None)
    if not attack.graded:
        assert len(said.strip().splitlines()) <= 2, "why it cannot be graded is one line"
        return
    assert attack.least <= marks[ATTACKED] <= attack.most
    for exercise in POINTS.keys() - {ATTACKED}:
        assert marks[exercise] == POINTS[exercise] or exercise in attack.costs
    nbformat.validate(notebook)
    assert READ not in shown_in(notebook)
    assert len(json.dumps(notebook)) < 25_000_000


def test_an_attack_that_fails_before_its_attempt_is_noticed(graded, course):
    said, notebook = graded.said[mallory(DEAD)], notebook_of(course, DEAD)
    assert "KeyError" in shown_in(notebook)
    assert not DEAD.got_to_its_attempt(said, notebook)


@pytest.mark.parametrize(
    "attack", [a for a in ATTACKS if a.cell and not (a.clumsy or a.says or a.shows)], ids=lambda attack: attack.id
)
def test_an_attack_marks_its_attempt_where_it_makes_it(attack):
    assert "attempt()" in attack.cell
    assert MARK not in ATTEMPT + attack.cell  # a traceback may quote it


def test_nothing_outside_is_changed(graded):
    assert graded.changed == set()


def test_no_process_is_left(graded):
    assert graded.left == set()


def test_feedback_of_every_attack_can_be_written_and_runs_no_program(graded, course, capsys):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["grader", "--course", str(course.root), "feedback", NAME])
        assert main() == 0
    said = capsys.readouterr().out
    assert "plain text" not in said, "what is graded is bounded already, so no page runs into its limits"
    for attack in ATTACKS:
        path = course.feedback_directory / mallory(attack) / NAME / f"{NAME}.html"
        assert path.exists() == attack.graded, attack.id
        if attack.graded:
            page = path.read_text(encoding="utf-8")
            assert "<script>alert(1)" not in page
            assert "<img src=x" not in page
            assert len(page) < 40_000_000, attack.id
