"""Measure and plot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch.utils.benchmark import Timer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette (https://jfly.uni-koeln.de/color/), without its yellow, which is lost on white. Every
# curve also has a marker and a dash of its own, so that colour is never the only difference.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P")
_DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))
_MAX_MARKERS = 12


@dataclass(frozen=True)
class Timing:
    """How long one call takes.

    Attributes:
        median: seconds for one call; half of the blocks of runs were faster.
        iqr: interquartile range in seconds: how far the middle half of the blocks lies apart.
        runs: how many calls were made.
    """

    median: float
    iqr: float
    runs: int

    def __repr__(self) -> str:
        return f"{_seconds(self.median)} (IQR {_seconds(self.iqr)}, {self.runs} runs)"


def _seconds(value: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"


def measure(fn: Callable[..., object], *args: object, threads: int = 1, at_least: float = 0.2) -> Timing:
    """Time ``fn(*args)`` with `torch.utils.benchmark`: warmed up, repeated, synchronised.

    Args:
        fn: a function or a module.
        *args: what it is called with.
        threads: how many threads PyTorch may use inside one operator.
        at_least: seconds to go on measuring.

    Returns:
        A `Timing` in seconds. Compare ratios of medians; a time alone belongs to the machine.

    Raises:
        Exception: whatever ``fn(*args)`` raises.
    """
    timer = Timer("fn(*args)", globals={"fn": fn, "args": args}, num_threads=threads)
    result = timer.blocked_autorange(min_run_time=at_least)
    return Timing(result.median, result.iqr, result.number_per_run * len(result.times))


def plot(
    x: Sequence[float],
    curves: Mapping[str, Sequence[float]],
    *,
    xlabel: str,
    ylabel: str,
    title: str = "",
    logx: bool = False,
    logy: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """Plot curves over `x` so that they can be told apart in print, in the dark and by the colour-blind.

    Args:
        x: positions, shared by all curves; anything that matplotlib takes.
        curves: label to values, each as long as `x`.
        xlabel: what `x` is, with its unit.
        ylabel: what the values are, with their unit.
        title: what one should see; empty for none.
        logx: logarithmic x axis.
        logy: logarithmic y axis.
        ax: where to draw; a new figure if None.

    Returns:
        The axes. The data of a curve are in ``ax.lines[i].get_xydata()``.

    Raises:
        ValueError: more than six curves: nobody can tell them apart. Make several panels.
    """
    import matplotlib.pyplot as plt  # here, because a student who only calls `check` need not wait for it

    if len(curves) > len(_COLOURS):
        raise ValueError(f"plot: {len(curves)} curves in one panel, {len(_COLOURS)} at most; use several panels")
    if ax is None:
        _, ax = plt.subplots()
    for (label, values), colour, marker, dash in zip(curves.items(), _COLOURS, _MARKERS, _DASHES, strict=False):
        every = max(1, len(values) // _MAX_MARKERS)
        ax.plot(x, values, label=label, color=colour, marker=marker, linestyle=dash, markevery=every)
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    if logx:
        ax.set_xscale("log")
    if logy:
        ax.set_yscale("log")
    if len(curves) > 1:
        ax.legend()
    return ax
