"""The example in the guide for maintainers is an exercise that works."""

import re

from d2lblocks.checking.check import examine
from grader.authoring import define, load
from tests import ROOT

GUIDE = (ROOT / "book" / "guides" / "maintainers.md").read_text(encoding="utf-8")


def test_the_example_reference_is_an_assignment_that_catches_its_mistake(tmp_path):
    source = re.search(r":name: warm-up-reference\n\n(.*?)\n```", GUIDE, flags=re.S)
    folder = tmp_path / "warm_up"
    folder.mkdir()
    (folder / "reference.py").write_text(source[1], encoding="utf-8")
    (task,) = load(folder).tasks.values()
    exercise = task.exercise(seed=3)

    (mistake,) = task.mistakes
    report = examine(exercise, define(mistake.source, task.defines))
    assert {v.check.id for v in report.verdicts if v.status != "pass"} == mistake.fails
    assert report.known.id == mistake.id

    worked = re.search(r"```python\n(class Scale.*?)\n```", GUIDE, flags=re.S)[1]
    for right in (worked, *task.alternatives.values()):
        report = examine(exercise, define(right, task.defines))
        assert report.passed
        assert report.points == 3
