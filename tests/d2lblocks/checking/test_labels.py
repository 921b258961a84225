"""Labels and hints: found by key, never by words."""

import re

import pytest
import torch
from torch import nn

from d2lblocks.checking.case import Case, normal
from d2lblocks.checking.compare import DifferenceKind, compare
from d2lblocks.checking.exercise import Check
from d2lblocks.checking.hints import hint_for, parse_hint
from d2lblocks.checking.labels import label, label_of
from d2lblocks.checking.probes import PROBES
from d2lblocks.checking.runner import observe


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("output", "output"),
        ("gradient.input.0", "gradient of input 0"),
        ("gradient.parameter.left.weight", "gradient of `left.weight`"),
        ("gradient.parameter.3", "gradient of parameter 3"),
        ("parameter.weight", "parameter `weight`"),
        ("parameter.0", "parameter 0"),
        ("requires_grad.0", "requires_grad of parameter 0"),
        ("training.2.buffer.mean", "buffer `mean` after call 2 in training"),
        ("scaled_spread.smallest.weight", "spread of `weight`: smallest entry in units of 1/√(rows + columns)"),
        ("calls.class.Linear.1", "number of calls, with hooks, of nn.Linear number 1"),
        ("growth.operators.4", "number of further operators for a size 4 times as large"),
        ("a key of a case's own", "a key of a case's own"),
    ],
)
def test_a_label_is_found_by_the_key(key, words):
    assert label(key) == words


def test_a_place_below_a_key_reads_as_a_path():
    assert label_of(("output", 0)) == "output [0]"
    assert label_of(("output", "number of calls")) == "output: number of calls"
    assert label_of(()) == "result"


@pytest.mark.parametrize("probe", PROBES)
def test_every_key_of_every_probe_has_a_label_of_its_own(probe):
    build = "answer(left := nn.Linear(4, 4), right := nn.BatchNorm1d(4).eval())"
    case = Case("", build, (normal(5, 4, seed=1),))
    options = [{}, *({"by": by} for by in ("name", "order", "part") if probe in BY), *MORE.get(probe, ())]
    for each in options:
        observed, _ = observe(nn.Sequential, probe, case, 60, each)
        assert "raised" not in observed
        words = {key: label(key) for key in observed}
        assert all(
            re.search(r"\.|_", text.replace("requires_grad", "")) is None or "`" in text or "nn." in text
            for text in words.values()
        ), words
        assert len(set(words.values())) == len(words)


BY = ("gradients", "parameters", "round_trip", "optimizer", "hooks")
MORE = {
    "values": [{"kind": "Linear"}],
    "growth": [{"of": "work"}],
    "hooks": [{"of": "Linear"}],
    "initial_values": [{"another_seed": True}],
}


def first(observed, expected):
    return next(compare(observed, expected))


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("gradient.*: none", True),
        ("gradient.parameter.weight: *", True),
        ("*", True),
        ("gradient.*: shape", False),
        ("output: none", False),
        ("raised: *", False),
    ],
)
def test_a_hint_is_found_by_key_and_kind(pattern, fits):
    observed, expected = {"gradient.parameter.weight": None}, {"gradient.parameter.weight": torch.ones(2)}
    found = hint_for({pattern: "Look there."}, first(observed, expected), observed)
    assert (found == "Look there.") == fits


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("raised: *deepcopy*", True),
        ("raised: Runtime*", True),
        ("raised: ValueError", False),
        ("*: not raised", False),
    ],
)
def test_a_hint_for_an_exception_is_found_by_its_class_or_message(pattern, fits):
    observed = {"raised": {"type": "RuntimeError", "message": "no deepcopy of this", "line": ""}}
    found = hint_for({pattern: "Look there."}, first(observed, {"output": 1}), observed)
    assert (found == "Look there.") == fits


def test_a_hint_for_no_kind_of_difference_is_refused():
    with pytest.raises(ValueError, match="names no kind of difference: raised, not raised, missing"):
        Check("a", "A", 1, "values", {"output: wrong": "x"})
    assert parse_hint("output.a: b: values").kind is DifferenceKind.VALUES
