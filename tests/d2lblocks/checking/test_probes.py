"""Probes: what they see in modules that behave, and that nothing which misbehaves gets out."""

import contextlib
import sys
import time

import pytest
import torch
from torch import nn

from d2lblocks.checking.cases import Case, normal
from d2lblocks.checking.probes import PROBES, observe

CASE = Case(
    "a batch",
    "answer(4, 3)",
    (normal(5, 4, seed=1),),
    {"weight": normal(3, 4, seed=2), "bias": normal(3, seed=3)},
)


def see(answer, probe, case=CASE, **options):
    return observe(answer, probe, case, **options)[0]


def test_values_are_those_of_the_state_that_was_sent():
    output = see(nn.Linear, "values")["output"]
    assert torch.allclose(output, CASE.inputs[0] @ CASE.state["weight"].T + CASE.state["bias"])


def test_gradients_are_seen_for_the_input_and_every_parameter():
    seen = see(nn.Linear, "gradients")
    assert {name: tuple(grad.shape) for name, grad in seen.items()} == {
        "gradient of input 0": (5, 4),
        "gradient of `weight`": (3, 4),
        "gradient of `bias`": (3,),
    }


def test_a_gradient_that_is_cut_off_is_none():
    class Cut(nn.Linear):
        def forward(self, x):
            return x @ self.weight.data.T + self.bias

    seen = see(Cut, "gradients")
    assert seen["gradient of `weight`"] is None
    assert seen["gradient of `bias`"] is not None


def test_a_plain_tensor_receives_the_state_but_is_not_registered():
    class Plain(nn.Module):
        def __init__(self, n, m):
            super().__init__()
            self.weight, self.bias = torch.zeros(m, n), torch.zeros(m)

        def forward(self, x):
            return x @ self.weight.T + self.bias

    assert torch.allclose(see(Plain, "values")["output"], see(nn.Linear, "values")["output"])
    assert see(Plain, "parameters") == {}
    assert see(Plain, "round_trip")["list of keys in the state dict"] == []
    assert see(Plain, "round_trip")["change of the output by saving and loading"] > 0
    assert see(Plain, "double")["raised"]["type"] == "RuntimeError"


def test_parameters_and_buffers_with_their_shapes():
    seen = see(nn.BatchNorm1d, "parameters", Case("", "answer(4)", (normal(5, 4, seed=1),)))
    assert seen["parameter `weight`"] == [4]
    assert seen["buffer `running_mean`"] == [4]
    assert seen["buffer `num_batches_tracked`"] == []
    assert seen["requires_grad of `bias`"] is True


def test_a_call_that_changes_its_input_is_seen_and_the_case_is_not_changed():
    class InPlace(nn.Module):
        def forward(self, x):
            return x.mul_(2)

    case = Case("", "answer()", (torch.ones(3),))
    assert see(InPlace, "side_effects", case)["change of the input"] == 1
    assert case.inputs[0].tolist() == [1, 1, 1]


def test_every_probe_finds_nothing_strange_in_a_linear_layer():
    for probe in PROBES:
        assert "raised" not in see(nn.Linear, probe)


def test_the_seed_of_the_case_decides_and_the_global_generator_is_left_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    case = Case("", "answer(0.5)", (torch.ones(100),), seed=3)
    assert torch.equal(see(nn.Dropout, "values", case)["output"], see(nn.Dropout, "values", case)["output"])
    assert torch.equal(torch.get_rng_state(), before)


class Raises(nn.Module):
    def __init__(self, *sizes):
        super().__init__()

    def forward(self, x):
        raise ValueError("no such luck")


def test_an_exception_is_seen_with_the_students_own_line():
    raised = see(Raises, "values", Case("", "answer()", CASE.inputs))["raised"]
    assert raised == {"type": "ValueError", "message": "no such luck", "line": 'raise ValueError("no such luck")'}


class Exits(Raises):
    def forward(self, x):
        sys.exit(0)


class Unprintable(Raises):
    def forward(self, x):
        class Mute(Exception):
            def __str__(self):
                raise RuntimeError

        raise Mute


class Endless(Raises):
    def forward(self, x):
        while True:
            pass


class Stubborn(Raises):
    def forward(self, x):
        with contextlib.suppress(BaseException):  # the first alarm is swallowed
            time.sleep(60)
        time.sleep(60)


class Strange(Raises):
    def forward(self, x):
        return object()


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Exits, "SystemExit"),
        (Unprintable, "Mute"),
        (Endless, "OutOfTime"),
        (Stubborn, "OutOfTime"),
        (Strange, "BadObservation"),
        (len, "TypeError"),
        (None, "TypeError"),
    ],
)
def test_whatever_an_answer_does_becomes_an_observation(answer, kind):
    start = time.monotonic()
    assert see(answer, "values", Case("", "answer()", CASE.inputs), seconds=0.2)["raised"]["type"] == kind
    assert time.monotonic() - start < 5


def test_what_an_answer_prints_is_caught(capfd):
    class Chatty(nn.Module):
        def forward(self, x):
            print("hello")
            print("careful", file=sys.stderr)
            return x

    seen, printed = observe(Chatty, "values", Case("", "answer()", (torch.ones(1),)))
    assert seen["output"].tolist() == [1]
    assert printed == "hello\ncareful\n"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("probe", PROBES)
def test_an_answer_cannot_spoil_the_case_for_the_next_one(probe, dtype):
    class Zeroes(nn.Module):
        def forward(self, x):
            x.data.zero_()
            return x

    case = Case("", "answer()", (torch.ones(3, dtype=getattr(torch, dtype)),), dtype=dtype)
    see(Zeroes, probe, case)
    assert case.inputs[0].tolist() == [1, 1, 1]


def test_gradients_are_on_whatever_the_caller_has_switched_off():
    with torch.no_grad():
        assert see(nn.Linear, "gradients")["gradient of `weight`"] is not None


def test_a_parameter_that_a_call_replaces_received_no_gradient():
    class Replaces(nn.Linear):
        def forward(self, x):
            self.weight = nn.Parameter(self.weight.data)
            return super().forward(x)

    assert see(Replaces, "gradients")["gradient of `weight`"] is None


def test_evaluation_mode_is_tried():
    class Moody(nn.Linear):
        def forward(self, x):
            return super().forward(x) if self.training else super().forward(x) + 1

    assert see(Moody, "side_effects")["change of the output in evaluation mode"] == pytest.approx(1)
