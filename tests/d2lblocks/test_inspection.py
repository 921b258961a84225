"""`draw`, `trace` and `ops`: what they say about a module is what PyTorch did."""

import doctest

import pytest
import torch
from torch import nn

from d2lblocks import draw, inspection, ops, trace


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Sequential(nn.Linear(8, 8), nn.Dropout()), nn.Linear(8, 3))


def test_examples_in_the_docstrings():
    result = doctest.testmod(inspection)
    assert result.attempted >= 3
    assert result.failed == 0


def test_ops_counts_each_dispatch():
    with torch.no_grad():
        counted = ops(lambda: torch.ones(2, 2) @ torch.ones(2, 2) + 1)
    assert counted["aten.ones.default"] == 2
    assert counted["aten.mm.default"] == 1
    assert counted["aten.add.Tensor"] == 1
    assert counted.total == 4
    assert "aten.mm.default" in repr(counted)
    assert "<td" in counted._repr_html_()


def test_ops_of_a_loop_grow_with_the_loop():
    def loop(n):
        x = torch.zeros(3)
        for _ in range(n):
            x = x + 1

    assert ops(loop, 11).total - ops(loop, 1).total == 10


def test_trace_rows_follow_the_calls(net):
    rows = trace(net, torch.ones(5, 20)).rows
    assert [row.name for row in rows] == ["", "0", "1", "2", "2.0", "2.1", "3"]
    assert [row.depth for row in rows] == [0, 1, 1, 1, 2, 2, 1]
    assert (rows[1].input, rows[1].output) == ("(5, 20)", "(5, 8)")
    assert rows[0].output == "(5, 3)"


def test_trace_counts_operators_of_a_block_with_those_inside(net):
    rows = {row.name: row for row in trace(net, torch.ones(5, 20)).rows}
    assert rows["2"].operators == rows["2.0"].operators + rows["2.1"].operators
    assert rows[""].operators == sum(rows[name].operators for name in ("0", "1", "2", "3"))


def test_trace_shows_every_call_of_a_shared_module():
    shared = nn.Linear(4, 4)
    rows = trace(nn.Sequential(shared, nn.ReLU(), shared), torch.ones(1, 4)).rows
    assert [row.type for row in rows] == ["Sequential", "Linear", "ReLU", "Linear"]


def test_trace_leaves_no_hooks_even_if_forward_fails(net):
    with pytest.raises(RuntimeError):
        trace(net, torch.ones(5, 21))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_calling_forward_directly_leaves_no_row():
    class Skips(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(2, 2)

        def forward(self, x):
            return self.inner.forward(x)

    assert [row.name for row in trace(Skips(), torch.ones(1, 2)).rows] == [""]


def test_draw_shows_structure_shapes_and_parameters(net):
    text = repr(draw(net, torch.ones(5, 20)))
    assert "0: Linear  (5, 20) → (5, 8)  168 parameters" in text
    assert "2: Sequential  (5, 8) → (5, 8)  72 parameters" in text
    assert text.splitlines()[-1] == "│  3: Linear  (5, 8) → (5, 3)  27 parameters"


def test_draw_refers_to_a_shared_module_and_counts_it_once():
    shared = nn.Linear(4, 4)
    text = repr(draw(nn.Sequential(shared, nn.ReLU(), shared), torch.ones(1, 4)))
    assert "Sequential  (1, 4) → (1, 4)  20 parameters" in text
    assert "0: Linear  (1, 4) → (1, 4)  20 parameters, called 2 times" in text
    assert "2: Linear  the same module as 0" in text


def test_draw_without_inputs_does_not_call_the_module():
    class Untouchable(nn.Module):
        def forward(self, x):
            raise AssertionError

    assert repr(draw(Untouchable())) == "Untouchable"


def test_draw_of_a_lazy_module_says_so():
    assert "lazy" in repr(draw(nn.LazyLinear(3)))


def test_drawing_does_not_change_the_mode_or_make_gradients(net):
    net.eval()
    draw(net, torch.ones(5, 20))
    assert not net.training
    assert all(p.grad is None for p in net.parameters())


def test_html_is_escaped():
    class Odd(nn.Module):
        pass

    Odd.__name__ = "<script>"
    assert "<script>" not in draw(Odd())._repr_html_()
