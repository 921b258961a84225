"""`measure`: how long a call takes.

In: a function and its arguments. Out: a `Timing`, in seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch.utils.benchmark import Timer


@dataclass(frozen=True)
class Timing:
    """How long one call takes.

    Attributes:
        median: seconds for one call; half of the blocks of runs were faster.
        iqr: interquartile range in seconds: the width of the middle half of the blocks.
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
        at_least: seconds to measure.

    Returns:
        A `Timing` in seconds. Compare ratios of medians: a time itself depends on the machine.

    Raises:
        Exception: whatever ``fn(*args)`` raises.
    """
    timer = Timer("fn(*args)", globals={"fn": fn, "args": args}, num_threads=threads)
    result = timer.blocked_autorange(min_run_time=at_least)
    return Timing(result.median, result.iqr, result.number_per_run * len(result.times))
