"""Time limits for code that may do anything: an answer that `observe` tries, a cell in the grader's worker.

A timer of the system sends an alarm, and its handler raises. Two rules keep that from doing harm:

- The handler raises only while a limit is on (it reads a flag), and never in the code of this file. So an alarm that
  is still pending when the work ends cannot raise in whatever comes next.
- The handler never interrupts an import, because half of a module would stay behind and break everything that uses
  it later. It waits until the import is over, and then the work has its full time again. An import that takes longer
  than `IMPORT_TIMEOUT` is stopped all the same; what it leaves of a package is then removed.
"""

from __future__ import annotations

import math
import signal
import sys
import threading
from collections.abc import Callable
from time import monotonic, process_time
from types import FrameType
from typing import Any, TypeVar

WALL_CLOCK_FACTOR = 4  # how many times longer an answer may wait than work
IMPORT_TIMEOUT = 60.0  # of work; and `WALL_CLOCK_FACTOR` times as many of waiting

Result = TypeVar("Result")


class OutOfTime(BaseException):
    """The work was stopped. Not an `Exception`, so that ``except Exception`` in an answer does not swallow it."""


class _Limit:
    """One limit, from the moment when its clock starts.

    Args:
        seconds: of work, and in all.
        error: makes what is raised; it is given what was being imported for too long, else an empty text.
        again: seconds until the next alarm, if what the first one raised was swallowed.
    """

    def __init__(self, seconds: tuple[float, float], error: Callable[[str], BaseException], again: float) -> None:
        self.seconds, self.error, self.again = seconds, error, again
        self.on = False
        self.frame: FrameType | None = None  # from which the work is called
        self.ends = self._from_now()
        self.imports_end = (math.inf, math.inf)  # known once an alarm has found an import
        self.importing = False
        self.half_made: list[str] = []

    def _from_now(self) -> tuple[float, float]:
        return process_time() + self.seconds[0], monotonic() + self.seconds[1]

    def start_anew(self) -> None:
        """Give the work its full time from now on."""
        before, self.ends = self.ends, self._from_now()
        for kind in (0, 1):
            if self.seconds[kind] < math.inf:
                _excused[kind] += max(0.0, self.ends[kind] - before[kind])

    def is_over(self) -> bool:
        """Whether its time is up."""
        return process_time() >= self.ends[0] or monotonic() >= self.ends[1]

    def may_import(self) -> bool:
        """Whether an import may go on that has been found just now."""
        if self.imports_end[0] == math.inf:
            self.imports_end = process_time() + IMPORT_TIMEOUT, monotonic() + WALL_CLOCK_FACTOR * IMPORT_TIMEOUT
        return process_time() < self.imports_end[0] and monotonic() < self.imports_end[1]

    def wait(self, kind: int) -> float:
        """Seconds until the next look at it, of work (0) or in all (1)."""
        left = self.ends[kind] - (process_time(), monotonic())[kind]
        return max(min(left, self.again) if self.importing and left < math.inf else left, 1e-6)


_limits: list[_Limit] = []  # that are on, the outermost first
_excused = [0.0, 0.0]  # seconds that imports took beyond a limit: of work, in all


def working_time() -> float:
    """Seconds of the processor, on a clock that stands still while a limit waits for an import."""
    return process_time() - _excused[0]


def passing_time() -> float:
    """Seconds, on a clock that stands still while a limit waits for an import."""
    return monotonic() - _excused[1]


def run_within(
    work: Callable[[], Result],
    *,
    working: float = math.inf,
    passing: float = math.inf,
    error: Callable[[str], BaseException] = OutOfTime,
    again: float = 0.1,
) -> Result:
    """Run something that is stopped when its time is up.

    Only the main thread of a Unix process can do this; elsewhere it runs without a limit. Limits may be nested.

    Args:
        work: a function that is written in Python.
        working: seconds of the processor, because a busy machine is not the answer's fault.
        passing: seconds in all.
        error: makes what is raised; it is given the name of the module that was being imported for too long, if
            that was the reason, else an empty text.
        again: seconds between this and the next time, if the work swallows it.

    Returns:
        What the work returns.

    Raises:
        OutOfTime: its time is up, unless `error` gives something else.
        BaseException: what the work raises.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        return work()
    limit = _Limit((working, passing), error, again)
    before = {number: signal.getsignal(number) for number in (signal.SIGPROF, signal.SIGALRM)}
    for number in before:
        signal.signal(number, _on_alarm)
    limit.frame = sys._getframe()
    _limits.append(limit)
    limit.on = True
    _set_timers()
    try:
        return work()
    finally:
        limit.on = False
        _limits.remove(limit)
        _set_timers()
        _remove_half_made(limit.half_made)
        for number, handler in before.items():
            # Where there was none, this one stays: a late alarm would end the process.
            if handler not in (None, signal.SIG_DFL, _on_alarm):
                signal.signal(number, handler)
        limit.frame = None  # no cycle


def _set_timers() -> None:
    """Have the next alarm come when the first limit is to be looked at, and others after it."""
    for kind, timer in enumerate((signal.ITIMER_PROF, signal.ITIMER_REAL)):
        waits = [(limit.wait(kind), limit.again) for limit in _limits if limit.ends[kind] < math.inf]
        signal.setitimer(timer, *min(waits, default=(0, 0)))


def _on_alarm(number: int, frame: FrameType | None) -> None:
    """Look at all limits, and raise if one is over."""
    if frame is None or frame.f_globals is globals():
        return  # the next alarm will find the work, if it still goes on
    for limit in _limits:
        if limit.on and (limit.importing or limit.is_over()):
            module = _imported_below(frame, limit.frame)
            limit.importing = bool(module)
            if not module and not limit.is_over():
                continue  # an import has ended since the last look
            if module and limit.may_import():
                limit.start_anew()
                continue
            if module:
                limit.half_made = [name for name, made in [*sys.modules.items()] if _is_half_made(made)]
            raise limit.error(module)
    if _limits:
        _set_timers()


def _imported_below(frame: FrameType | None, limit: FrameType | None) -> str:
    """What the work is importing, outermost; empty if it is importing nothing."""
    module = ""
    while frame is not None and frame is not limit:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            module = str(frame.f_locals.get("name") or module or "a module")
        frame = frame.f_back
    return module


def _is_half_made(module: Any) -> bool:
    return bool(getattr(getattr(module, "__dict__", {}).get("__spec__"), "_initializing", False))


def _remove_half_made(names: list[str]) -> None:
    """Remove what is left of packages whose import was stopped, so that the next import starts afresh.

    Python itself has removed the modules that were being made, but not the finished modules inside of them.
    """
    lost = [f"{name}." for name in names if name not in sys.modules]
    for name in [name for name in sys.modules if name.startswith(tuple(lost))]:
        del sys.modules[name]
