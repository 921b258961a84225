"""Probes: what they see in modules that behave, and that nothing which misbehaves gets out."""

import contextlib
import sys
import time
from dataclasses import replace

import pytest
import torch
from torch import nn

from d2lblocks.checking.case import Case, normal
from d2lblocks.checking.compare import compare
from d2lblocks.checking.probes import PROBES
from d2lblocks.checking.runner import observe

CASE = Case(
    "a batch",
    "answer(4, 3)",
    (normal(5, 4, seed=1),),
    {"weight": normal(3, 4, seed=2), "bias": normal(3, seed=3)},
)


def see(answer, probe, case=CASE, seconds=60, **options):
    """The limit is much more than any of these needs, on whatever machine; where it counts a test sets its own."""
    return observe(answer, probe, case, seconds, **options)[0]


def test_values_are_those_of_the_state_that_was_sent():
    output = see(nn.Linear, "values")["output"]
    assert torch.allclose(output, CASE.inputs[0] @ CASE.state["weight"].T + CASE.state["bias"])


def test_gradients_are_seen_for_the_input_and_every_parameter():
    seen = see(nn.Linear, "gradients")
    assert {name: tuple(grad.shape) for name, grad in seen.items()} == {
        "gradient.input.0": (5, 4),
        "gradient.parameter.weight": (3, 4),
        "gradient.parameter.bias": (3,),
    }


def test_a_gradient_that_is_cut_off_is_none():
    class Cut(nn.Linear):
        def forward(self, x):
            return x @ self.weight.data.T + self.bias

    seen = see(Cut, "gradients")
    assert seen["gradient.parameter.weight"] is None
    assert seen["gradient.parameter.bias"] is not None


def test_a_plain_tensor_receives_the_state_but_is_not_registered():
    class Plain(nn.Module):
        def __init__(self, n, m):
            super().__init__()
            self.weight, self.bias = torch.zeros(m, n), torch.zeros(m)

        def forward(self, x):
            return x @ self.weight.T + self.bias

    assert torch.allclose(see(Plain, "values")["output"], see(nn.Linear, "values")["output"])
    assert see(Plain, "parameters") == {}
    assert see(Plain, "round_trip")["state_dict.keys"] == []
    assert see(Plain, "round_trip")["change.saved"] > 0
    assert see(Plain, "double")["raised"]["type"] == "RuntimeError"


def test_parameters_and_buffers_with_their_shapes():
    seen = see(nn.BatchNorm1d, "parameters", Case("", "answer(4)", (normal(5, 4, seed=1),)))
    assert seen["parameter.weight"] == [4]
    assert seen["buffer.running_mean"] == [4]
    assert seen["buffer.num_batches_tracked"] == []
    assert seen["requires_grad.bias"] is True


def test_a_call_that_changes_its_input_is_seen_and_the_case_is_not_changed():
    class InPlace(nn.Module):
        def forward(self, x):
            return x.mul_(2)

    case = Case("", "answer()", (torch.ones(3),))
    assert see(InPlace, "side_effects", case)["change.input"] == 1
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
    assert raised == {
        "type": "ValueError",
        "bases": ["Exception", "BaseException"],
        "message": "no such luck",
        "line": 'raise ValueError("no such luck")',
    }


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


NEVER = 10**6  # seconds


class Stubborn(Raises):
    def forward(self, x):
        with contextlib.suppress(BaseException):  # the first alarm is swallowed
            time.sleep(NEVER)
        time.sleep(NEVER)


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
    # Those that come to an end take microseconds; the others wait for ever, unless they are stopped.
    assert see(answer, "values", Case("", "answer()", CASE.inputs), seconds=0.2)["raised"]["type"] == kind


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
        assert see(nn.Linear, "gradients")["gradient.parameter.weight"] is not None


def test_a_parameter_that_a_call_replaces_received_no_gradient():
    class Replaces(nn.Linear):
        def forward(self, x):
            self.weight = nn.Parameter(self.weight.data)
            return super().forward(x)

    assert see(Replaces, "gradients")["gradient.parameter.weight"] is None


def test_evaluation_mode_is_tried():
    class Moody(nn.Linear):
        def forward(self, x):
            return super().forward(x) if self.training else super().forward(x) + 1

    assert see(Moody, "side_effects")["change.evaluation"] == pytest.approx(1)


# --- parts, order, and what the further probes see ----------------------------------------------------------------


class Both(nn.Module):
    """Two blocks side by side, under names of its own."""

    def __init__(self, left, right):
        super().__init__()
        self.first, self.second = left, right

    def forward(self, x):
        return torch.cat((self.first(x), self.second(x)), dim=-1)


PARTS = Case(
    "parts",
    "answer(left := nn.Linear(4, 3), right := nn.Linear(4, 2))",
    (normal(5, 4, seed=1),),
    {"left.weight": normal(3, 4, seed=2)},
)


def test_parts_are_told_by_the_names_that_the_case_gives_them():
    assert set(see(Both, "gradients", PARTS)) == {
        "gradient.input.0",
        *(f"gradient.parameter.{part}.{name}" for part in ("left", "right") for name in ("weight", "bias")),
    }
    assert see(Both, "hooks", PARTS) == {
        "calls.module.left": 1,
        "calls.module.right": 1,
    }
    assert torch.allclose(
        see(Both, "values", PARTS)["output"], see(lambda a, b: Both(a, b), "values", PARTS)["output"]
    )


def test_a_part_that_is_not_registered_still_gets_its_numbers_and_its_dtype():
    class Hidden(Both):
        def __init__(self, left, right):
            nn.Module.__init__(self)
            self.members = [left, right]

        def forward(self, x):
            return torch.cat([m(x) for m in self.members], dim=-1)

    wide = replace(PARTS, dtype="float64", inputs=(PARTS.inputs[0].double(),))
    for case in (PARTS, wide):
        assert torch.allclose(see(Hidden, "values", case)["output"], see(Both, "values", case)["output"])
    seen = see(Hidden, "parameters", PARTS)
    assert seen["registered.left.weight"] is False
    assert see(Hidden, "modes", PARTS)["still_training"] == 2
    assert see(Hidden, "round_trip", PARTS)["change.saved"] > 0


def test_parameters_can_be_told_by_their_order():
    case = Case("", "answer(4, 3)", CASE.inputs, {"0": CASE.state["weight"], "1": CASE.state["bias"]})
    assert torch.allclose(see(nn.Linear, "values", case)["output"], see(nn.Linear, "values")["output"])
    assert see(nn.Linear, "parameters", case, options={"by": "order"}) == {
        "parameter.0": [3, 4],
        "parameter.1": [3],
        "requires_grad.0": True,
        "requires_grad.1": True,
    }
    missing = Case("", "answer(4, 3)", CASE.inputs, {"2": CASE.state["bias"]})
    assert "number 2, counted from 0, is missing" in see(nn.Linear, "values", missing)["raised"]["message"]


def test_the_kind_of_a_module_can_be_asked_for():
    case = Case("", "answer(nn.ReLU())", CASE.inputs)
    asked = "is.Sequential"
    assert see(nn.Sequential, "values", case, options={"kind": "Sequential"})[asked] is True
    assert asked not in see(nn.Sequential, "values", case)


def test_running_statistics_are_seen_after_each_call():
    seen = see(nn.BatchNorm1d, "modes", Case("", "answer(4)", (normal(5, 4, seed=1),)))
    means = [seen[f"{m}.{n}.buffer.running_mean"] for m in ("training", "evaluation") for n in (1, 2)]
    assert not torch.equal(means[0], means[1])
    assert torch.equal(means[1], means[3])


def test_two_steps_of_training_change_what_is_trained_and_nothing_else():
    class Half(nn.Linear):
        def __init__(self, n, m):
            super().__init__(n, m)
            self.bias.requires_grad_(False)

    seen = see(Half, "optimizer")
    assert torch.equal(seen["trained.parameter.bias"], CASE.state["bias"])
    assert not torch.equal(seen["trained.parameter.weight"], CASE.state["weight"])


def test_a_graph_that_is_kept_from_call_to_call_fails_in_the_second_step():
    class Keeps(nn.Linear):
        def forward(self, x):
            y = super().forward(x)
            self.seen = y.sum() + getattr(self, "seen", 0)
            return y + self.seen

    assert "second time" in see(Keeps, "optimizer")["raised"]["message"]


def test_a_layer_that_mixes_its_samples_is_seen():
    mixing = see(lambda: lambda x: x - x.mean(), "batch", Case("", "answer()", CASE.inputs))
    apart = see(lambda: lambda x: x * 2, "batch", Case("", "answer()", CASE.inputs))
    key = "batch.difference"
    assert mixing[key] > 0.1
    assert apart[key] == 0


def test_shared_parameters_are_counted_once_and_shared_memory_is_seen():
    tied = see(nn.Sequential, "sharing", Case("", "(lambda m: answer(m, m))(nn.Linear(3, 3))"))
    assert tied["count.parameters"] == 2
    assert tied["count.names"] == 4

    class Views(nn.Module):
        def __init__(self):
            super().__init__()
            base = torch.zeros(4)
            self.a, self.b = nn.Parameter(base[:2]), nn.Parameter(base[2:])

    assert see(Views, "sharing", Case("", "answer()"))["count.shared_memory"] == 1


def test_hooks_are_counted_by_name_or_by_class():
    class Skips(Both):
        def forward(self, x):
            return torch.cat((self.first.forward(x), self.second(x)), dim=-1)

    by_name = see(Skips, "hooks", PARTS, options={"by": "name"})
    assert by_name == {"calls.module.first": 0, "calls.module.second": 1}
    by_class = see(Skips, "hooks", PARTS, options={"of": "Linear"})
    assert list(by_class.values()) == [0, 1]


def test_the_growth_of_operators_and_of_work():
    def loop(x):
        return torch.stack([row * 2 for row in x])

    def gram(x):
        return (x @ x.T).sum(0)

    case = Case("", "lambda x: answer(x)", (normal(16, 4, seed=1),))
    key = "growth.operators.4"
    assert see(loop, "growth", case)[key] > 0
    assert see(gram, "growth", case)[key] == 0
    power = "growth.power"
    big = Case("", "lambda x: answer(x)", (normal(64, 4, seed=1),))
    assert see(gram, "growth", big, options={"of": "work"})[power] == 2
    assert see(loop, "growth", big, options={"of": "work"})[power] == 1
    pair = Case("", "(answer(2), answer(8))", (normal(4, seed=1),))
    assert see(lambda k: lambda x: [x + 1 for _ in range(k)] and x, "growth", pair)[key] == 6


def test_a_graph_break_is_seen_and_one_graph_serves_every_input():
    class Loop(nn.Module):
        def forward(self, x):
            while x.abs().sum() > 1:
                x = x / 2
            return x

    class Chosen(nn.Module):
        def forward(self, x):
            return torch.where(x.abs().sum() > 1, x / 2, x)

    case = Case("", "answer()", (torch.ones(4) * 3, torch.ones(4) * 0.1))
    assert see(Loop, "graphs", case, seconds=60)["graph_break"] != "none"
    seen = see(Chosen, "graphs", case, seconds=60)
    assert seen["graph_break"] == "none"
    assert seen["graphs"] == 1
    assert [tensor.tolist() for tensor in seen["output"]] == [[1.5] * 4, [torch.tensor(0.1).item()] * 4]


def test_the_spread_of_fresh_numbers_is_coarse_enough_for_every_seed_and_fine_enough_to_tell_schemes_apart():
    def spread(init, seed):
        class Layer(nn.Module):
            def __init__(self):
                super().__init__()
                self.weight = init(nn.Parameter(torch.empty(200, 300)))

        return see(Layer, "initial_values", Case("", "answer()", seed=seed))

    xavier = spread(nn.init.xavier_uniform_, 0)
    for seed in range(1, 20):
        assert not list(compare(spread(nn.init.xavier_uniform_, seed), xavier))
    for other in (nn.init.xavier_normal_, nn.init.kaiming_uniform_, nn.init.zeros_, nn.init.uniform_):
        assert list(compare(spread(other, 0), xavier))


def test_whether_numbers_are_drawn_anew_is_seen():
    def seen(*before):
        class Layer(nn.Module):
            def __init__(self):
                super().__init__()
                [call() for call in before]
                self.weight = nn.Parameter(torch.rand(3, 4))

        return see(Layer, "initial_values", Case("", "answer()", seed=3), options={"another_seed": True})

    assert seen()["same_numbers.weight"] is False
    assert seen(lambda: torch.manual_seed(0))["same_numbers.weight"] is True


def test_outputs_may_be_tuples_and_complex():
    def answer(x):
        return torch.fft.fft(x), 3, {"half": x / 2}

    case = Case("", "lambda x: answer(x)", (normal(4, seed=1),))
    for probe in ("values", "gradients"):
        assert "raised" not in see(answer, probe, case)
    assert see(answer, "gradients", case)["gradient.input.0"].dtype == torch.float32


def test_the_random_numbers_of_python_are_seeded_and_given_back():
    import random

    case = Case("", "lambda: answer()", seed=3)
    before = random.getstate()
    draw = lambda: torch.tensor(random.random())  # noqa: E731 - a function as an answer
    assert torch.equal(see(draw, "values", case)["output"], see(draw, "values", case)["output"])
    assert random.getstate() == before
