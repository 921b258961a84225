"""The table of attacks: what it says follows from what was seen, and it has every submission."""

import pytest

from tests.attacks import ATTACKS, POINTS
from tests.stress import sandbox
from tests.stress.attacks import NO_ATTEMPT, NO_HARM, REFUSED, RIGHT, TABLE, outcome

WELL = {
    "status": 0,
    "marks": {sandbox.MALLORY: {**POINTS, "my_linear": 1}, sandbox.INNOCENT: POINTS},
    "graded": True,
    "attempted": True,
    "megabytes": 0.1,
    "read": False,
    "left": 0,
    "changed": [],
    "gigabytes": 0.3,
}


def attack(name):
    return next(attack for attack in ATTACKS if attack.id == name)


def marks(own, after=POINTS):
    return {"marks": {sandbox.MALLORY: own, sandbox.INNOCENT: after}}


@pytest.mark.parametrize(
    ("name", "seen", "words"),
    [
        ("exit", {}, NO_HARM),
        ("noisy", marks(POINTS), RIGHT),
        ("not_json", {"graded": False, **marks({})}, REFUSED),
        ("exit", {"attempted": False}, NO_ATTEMPT),
        ("exit", {"attempted": False, "left": 1}, "a process survives"),
        ("exit", {"graded": False}, "every point is lost"),
        ("exit", {"status": None}, "never ends"),
        ("exit", {"read": True}, "gets what it is after"),
        ("exit", {"left": 1}, "a process survives"),
        ("exit", {"changed": ["x"]}, "changes files"),
        ("exit", {"megabytes": 150.0}, "150 MB"),
        ("exit", marks(POINTS), "gets 8 of 8 points"),
        ("exit", marks({**POINTS, "my_linear": 200.0}), "gets 228 of 36 points"),
        ("exit", marks({**POINTS, "my_linear": 0, "half_fourier": 0}), "loses 6 of its 28 other points"),
        ("exit", marks({**POINTS, "my_linear": 0}, {}), "the student after it gets no marks"),
        ("exit", marks({**POINTS, "my_linear": 0}, {**POINTS, "my_linear": 7}), "the student after it change"),
        ("noisy", marks({**POINTS, "my_linear": 0}), "gets 0 of the 8 points that it has earned"),
        ("not_json", marks(POINTS), "gets 36 of 36 points"),
    ],
)
def test_what_the_table_says_follows_from_what_was_seen(name, seen, words):
    assert words in outcome(attack(name), {**WELL, **seen})


def test_the_guides_table_has_every_submission_and_our_command_ends_well_with_all():
    rows = [line.split(" | ") for line in TABLE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert [row[0].strip("|` ") for row in rows if row[0] != "| submission"] == [attack.id for attack in ATTACKS]
    assert {row[-1].removesuffix(" |") for row in rows} <= {NO_HARM, RIGHT, REFUSED}
