"""`measure`: seconds, shown in a unit that fits."""

import pytest
import torch

from d2lblocks import Timing, measure


def test_measure_runs_what_it_is_given_and_reports_seconds():
    calls = []
    timing = measure(lambda x: calls.append(x), 3, at_least=0.01)
    assert set(calls) == {3}
    assert timing.runs <= len(calls)
    assert 0 < timing.median < 1


def test_measure_tells_slow_from_fast():
    small, large = torch.randn(8, 8), torch.randn(512, 512)
    assert (
        measure(torch.mm, large, large, at_least=0.05).median > measure(torch.mm, small, small, at_least=0.05).median
    )


@pytest.mark.parametrize(
    ("seconds", "text"), [(2.0, "2 s"), (1.5e-3, "1.5 ms"), (2.34e-5, "23.4 µs"), (5e-8, "50 ns")]
)
def test_timing_is_shown_in_a_unit_that_fits(seconds, text):
    assert repr(Timing(seconds, 1e-6, 10)) == f"{text} (IQR 1 µs, 10 runs)"
