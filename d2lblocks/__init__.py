"""The helper module of *Layers and Blocks*: a few verbs to look into a network, and `check` for the exercises.

Look:    `draw` (nested blocks), `trace` (the forward pass, call by call), `ops` (which operators ran)
Compare: `measure` (how long), `plot` (curves that can be told apart)
Answer:  `check` (is my answer right, and if not, what is the matter?)

Figures take the style of the book with ``plt.style.use("d2lblocks.book")``.
"""

from d2lblocks.checking.check import check
from d2lblocks.inspection import Operators, Trace, draw, ops, trace
from d2lblocks.timing import Timing, measure, plot

__all__ = ["Operators", "Timing", "Trace", "check", "draw", "measure", "ops", "plot", "trace"]
