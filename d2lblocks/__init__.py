"""The helper module of *Layers and Blocks*: functions that show what a network does, and `check` for the exercises.

Look:    `draw` (nested blocks), `trace` (the forward pass, call by call), `ops` (which operators ran)
Compare: `measure` (how long), `plot` (a few curves in one panel)
Answer:  `check` (is my answer right, and if not, what is wrong?)

Figures take the style of the book with ``plt.style.use("d2lblocks.book")``.
"""

from d2lblocks.checking.check import check
from d2lblocks.inspection import Operators, Trace, draw, ops, trace
from d2lblocks.plotting import plot
from d2lblocks.timing import Timing, measure

__all__ = ["Operators", "Timing", "Trace", "check", "draw", "measure", "ops", "plot", "trace"]
