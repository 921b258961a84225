"""`measure` and `plot`: units, and curves that can be told apart."""

import matplotlib
import pytest
import torch

matplotlib.use("agg")

import matplotlib.pyplot as plt

from d2lblocks import Timing, measure, plot


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


def test_plot_keeps_the_data_and_tells_curves_apart():
    ax = plot([1, 2, 3], {"a": [1, 2, 3], "b": [3, 2, 1]}, xlabel="x", ylabel="y / s", logy=True)
    assert [line.get_label() for line in ax.lines] == ["a", "b"]
    assert ax.lines[1].get_ydata().tolist() == [3, 2, 1]
    assert len({(line.get_color(), line.get_marker(), line.get_linestyle()) for line in ax.lines}) == 2
    assert len({line.get_marker() for line in ax.lines}) == 2
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_yscale()) == ("x", "y / s", "log")
    plt.close("all")


def test_plot_draws_where_it_is_told():
    _, axes = plt.subplots(1, 2)
    assert plot([1], {"a": [1]}, xlabel="x", ylabel="y", ax=axes[1]) is axes[1]
    assert not axes[0].lines
    plt.close("all")


def test_plot_refuses_more_curves_than_one_can_tell_apart():
    with pytest.raises(ValueError, match="several panels"):
        plot([1], {str(i): [i] for i in range(7)}, xlabel="x", ylabel="y")


def test_the_style_of_the_book_can_be_used():
    with plt.style.context("d2lblocks.book"):
        assert plt.rcParams["figure.facecolor"] == "white"
