"""The judge: one rule, and words that help."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from d2lblocks.checking import report
from d2lblocks.checking.case import Case
from d2lblocks.checking.compare import TOLERANCE, compare
from d2lblocks.checking.digest import digest_case
from d2lblocks.checking.exercise import Check, Exercise, Known
from d2lblocks.checking.judge import Status, judge, judging

T = torch.tensor


@pytest.mark.parametrize(
    ("observed", "expected", "kind"),
    [
        ({"output": T([1.0])}, {"output": T([1.0])}, None),
        ({"output": T([1.0 + 1e-6])}, {"output": T([1.0])}, None),
        ({"output": T([1.01])}, {"output": T([1.0])}, "values"),
        ({"output": T([math.nan])}, {"output": T([1.0])}, "nan"),
        ({"output": T([math.nan])}, {"output": T([math.nan])}, None),
        ({"output": T([1.0], dtype=torch.float64)}, {"output": T([1.0])}, "dtype"),
        ({"output": T([[1.0]])}, {"output": T([1.0])}, "shape"),
        ({"output": T([1 + 1j])}, {"output": T([1.0])}, "dtype"),
        ({"output": None}, {"output": T([1.0])}, "none"),
        ({"output": [1]}, {"output": T([1.0])}, "type"),
        ({"output": True}, {"output": 1}, "type"),
        ({"output": 1}, {"output": 1.0}, "type"),
        ({"output": 2}, {"output": 1}, "values"),
        ({"output": 0.5}, {"output": 0.0}, "values"),
        ({"output": [3, 4]}, {"output": [4, 3]}, "values"),
        ({}, {"output": 1}, "missing"),
        ({"output": 1, "more": 2}, {"output": 1}, "unexpected"),
        ({"output": 1}, {"raised": {"type": "ValueError"}}, "not raised"),
        ({"raised": {"type": "TypeError", "message": "m", "line": ""}}, {"output": 1}, "raised"),
        ({"raised": {"type": "TypeError"}}, {"raised": {"type": "ValueError"}}, "raised"),
        ({"raised": {"type": "ValueError", "message": "mine"}}, {"raised": {"type": "ValueError"}}, None),
        ({"raised": "forged"}, {"output": 1}, "raised"),
        ({"output": {"raised": 1}}, {"output": T([1.0])}, "type"),
    ],
    ids=str,
)
def test_the_one_rule(observed, expected, kind):
    assert [difference.kind for difference in compare(observed, expected)] == ([kind] if kind else [])


@given(st.sampled_from(sorted(TOLERANCE, key=str)), st.floats(0.1, 10))
def test_tolerance_is_wide_enough_for_rounding_and_no_wider(dtype, scale):
    right = torch.full((3,), scale).to(dtype)
    relative, absolute = TOLERANCE[dtype]
    assert not list(compare(right * (1 + relative / 4), right))
    assert list(compare(right * (1 + 4 * relative) + 4 * absolute, right))


def test_words_say_what_was_observed_and_what_was_expected():
    (none,) = compare({"gradient.parameter.weight": None}, {"gradient.parameter.weight": torch.ones(3, 5)})
    assert str(none) == "The gradient of `weight` is None; the reference's is a float32 tensor of shape (3, 5)."
    (values,) = compare({"output": T([[1.0, 2.0]])}, {"output": T([[1.0, 5.0]])})
    assert str(values) == "The output is 2 at [0, 1] (1 of 2 entries differ); the reference's is 5."
    (close,) = compare({"output": T(1.00001, dtype=torch.float64)}, {"output": T(1.0, dtype=torch.float64)})
    assert str(close) == "The output is 1.00001; the reference's is 1."
    (missing,) = compare({}, {"parameter.bias": [3]})
    assert str(missing) == "There is no parameter `bias`; the reference has one: (3,)."


def digests(check, expected, *observed):
    """The digests of a mistake that fails one check."""
    return {check: tuple(map(digest_case, observed, expected))}


def exercise():
    cases = (Case("small", "answer()"), Case("large", "answer()"))
    checks = (
        Check("a", "A", 2, "values", {"output: values": "Look again."}, cases=cases),
        Check("b", "B", 1, "values", cases=cases),
    )
    right = ({"output": T([1.0])}, {"output": T([2.0])})
    twice = digests("a", right, {"output": T([2.0])}, {"output": T([4.0])})
    known = Known("doubled", "Twice as much", "You doubled it.", "page.html#x", twice)
    return Exercise("e", "E", cases, checks, {"a": right, "b": right}, (known,)), list(right)


def test_every_status_has_a_sign():
    assert set(Status) == report._SIGNS.keys()


def test_points_are_lost_check_by_check():
    task, right = exercise()
    verdicts = judge(task, {"a": [right[0], {"output": T([9.0])}], "b": right})
    assert [(v.status, v.points) for v in verdicts] == [("fail", 0), ("pass", 1)]
    assert verdicts[0].case == "large"
    assert verdicts[0].hint == "Look again."
    assert verdicts[0].difference.key == "output"
    assert report.explain(verdicts[0]).endswith("the reference's is 2. Look again. (case: large)")


@pytest.mark.parametrize(
    ("raised", "status"),
    [("ValueError", "error"), ("OutOfTime", "timeout"), ("NotImplementedError", "unanswered")],
)
def test_an_answer_that_raised(raised, status):
    task, right = exercise()
    seen = {"raised": {"type": raised, "message": "", "line": ""}}
    assert [v.status for v in judge(task, {"a": [seen, seen], "b": right})] == [status, "pass"]


@pytest.mark.parametrize("observed", [{}, {"a": []}, {"a": [{"output": T([1.0])}]}], ids=["nothing", "none", "one"])
def test_what_was_not_observed_has_not_passed(observed):
    task, _ = exercise()
    assert all(v.status == "timeout" and v.points == 0 for v in judge(task, observed))


def test_a_known_mistake_is_recognised_by_what_it_gives():
    task, right = exercise()
    doubled = {"a": [{"output": T([2.0])}, {"output": T([4.0])}], "b": right}
    assert judging(task, doubled).known().id == "doubled"
    other = {"a": [{"output": T([2.0])}, {"output": T([5.0])}], "b": right}
    assert judging(task, other).known() is None
    more = {**doubled, "b": [{"output": None}, right[1]]}
    assert judging(task, more).known() is None
    assert judging(task, {"a": right, "b": right}).known() is None


def test_an_exception_is_compared_by_its_kind_and_a_special_case_counts():
    def raised(*kinds):
        return {"raised": {"type": kinds[0], "bases": [*kinds[1:]], "message": "m", "line": ""}}

    wanted = raised("ValueError", "Exception")
    assert not list(compare(raised("ValueError", "Exception"), wanted))
    assert not list(compare(raised("UnicodeError", "ValueError", "Exception"), wanted))
    assert [d.kind for d in compare(raised("TypeError", "Exception"), wanted)] == ["raised"]
    (quiet,) = compare({"output": T([1.0])}, wanted)
    assert str(quiet) == "ValueError should have been raised."
    assert [d.kind for d in compare(wanted, {"output": T([1.0])})] == ["raised"]


def test_an_exception_of_the_same_type_that_says_something_else_is_another_mistake():
    task, right = exercise()
    said = {"raised": {"type": "AttributeError", "message": "cannot assign before call 1", "line": ""}}
    known = Known("early", "Too early", "You called too early.", "page.html#x", digests("a", right, said))
    task = replace(task, known=(known,))

    def named(message):
        seen = {"raised": {"type": "AttributeError", "message": message, "line": "x = 1"}}
        observed = {"a": [seen, seen], "b": right}
        return judging(task, observed).known()

    assert named("cannot assign before call 2") is known
    assert named("module 'torch.nn' has no attribute 'Paramter'") is None


def test_a_mistake_is_recognised_whatever_numbers_were_drawn():
    task, _ = exercise()
    key = "change.saved"
    right = [{key: T(0.0)}, {key: T(0.0)}]
    known = Known("lost", "Lost", "It is lost.", "page.html#x", digests("a", right, {key: T(0.5)}, {key: T(0.7)}))
    task = replace(task, known=(known,), expected={"a": tuple(right), "b": tuple(right)})

    def named(*changes):
        observed = {"a": [{key: T(change)} for change in changes], "b": right}
        return judging(task, observed).known()

    assert named(0.3, 0.1) is known
    assert named(0.3, 0.0) is None


def test_the_same_words_are_marked_as_repeated_whichever_the_case():
    task, _ = exercise()
    raised = {"raised": {"type": "ValueError", "message": "no", "line": ""}}
    first, second = judge(task, {"a": [raised], "b": [{"output": T([1.0])}, raised]})
    assert (first.is_repeated, second.is_repeated) == (False, True)
    assert (first.case, second.case) == ("small", "large")
    assert report.explain(second) == "As above."


@pytest.mark.parametrize(
    ("kind", "message", "status", "words"),
    [
        ("OutOfTime", "was stopped after 2 s", "timeout", "It did not finish; it was stopped after 2 s."),
        ("OutOfMemory", "used too much memory", "memory", "It used too much memory."),
        ("Crash", "ended its process", "crash", "It ended its process."),
        (
            "ReturnedNone",
            "None",
            "error",
            "The call returned None, not a tensor. Does `forward` end with a `return`?",
        ),
        ("ReturnedNoTensor", "a str", "error", "The call returned a str, not a tensor."),
        ("BadObservation", "a tensor of impossible shape", "error", "It gave a tensor of impossible shape."),
    ],
)
def test_a_failure_without_an_exception_is_said_in_a_sentence(kind, message, status, words):
    task, right = exercise()
    raised = {"raised": {"type": kind, "message": message, "line": ""}}
    verdict, _ = judge(task, {"a": [raised, raised], "b": right})
    assert (verdict.status, verdict.message) == (status, words)
