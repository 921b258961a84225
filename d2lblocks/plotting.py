"""`plot`: a few curves in one panel.

In: positions and labelled values. Out: matplotlib's axes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette (https://jfly.uni-koeln.de/color/), without its yellow, which is hard to see on white. Every
# curve also has its own marker and dashes, so that colour is never the only difference.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P")
_DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))
_MAX_MARKERS = 12


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
    """Plot curves over `x` that readers can distinguish in print, in a dark theme, and if they are colour-blind.

    Args:
        x: positions, shared by all curves; anything that matplotlib takes.
        curves: label to values, each as long as `x`.
        xlabel: what `x` is, with its unit.
        ylabel: what the values are, with their unit.
        title: what the figure shows; empty for none.
        logx: logarithmic x axis.
        logy: logarithmic y axis.
        ax: where to draw; a new figure if None.

    Returns:
        The axes. The data of a curve are in ``ax.lines[i].get_xydata()``.

    Raises:
        ValueError: more than six curves: they are hard to distinguish. Make several panels.
    """
    import matplotlib.pyplot as plt  # here, so that a student who only calls `check` does not wait for it

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
