"""`plot`: curves that readers can distinguish."""

import matplotlib
import pytest

matplotlib.use("agg")

import matplotlib.pyplot as plt

from d2lblocks import plot


def test_plot_keeps_the_data_and_gives_each_curve_its_own_style():
    ax = plot([1, 2, 3], {"a": [1, 2, 3], "b": [3, 2, 1]}, xlabel="x", ylabel="y / s", logy=True)
    assert [line.get_label() for line in ax.lines] == ["a", "b"]
    assert ax.lines[1].get_ydata().tolist() == [3, 2, 1]
    assert len({(line.get_color(), line.get_marker(), line.get_linestyle()) for line in ax.lines}) == 2
    assert len({line.get_marker() for line in ax.lines}) == 2
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_yscale()) == ("x", "y / s", "log")
    plt.close("all")


def test_plot_draws_into_given_axes():
    _, axes = plt.subplots(1, 2)
    assert plot([1], {"a": [1]}, xlabel="x", ylabel="y", ax=axes[1]) is axes[1]
    assert not axes[0].lines
    plt.close("all")


def test_plot_refuses_more_curves_than_readers_can_distinguish():
    with pytest.raises(ValueError, match="several panels"):
        plot([1], {str(i): [i] for i in range(7)}, xlabel="x", ylabel="y")


def test_the_style_of_the_book_can_be_used():
    with plt.style.context("d2lblocks.book"):
        assert plt.rcParams["figure.facecolor"] == "white"
