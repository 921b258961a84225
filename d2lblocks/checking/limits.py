"""Time limits for code that may do anything: an answer that `observe` tries, a cell in the grader's worker.

In: a function and its limits, in seconds. Out: its result, or an exception when its time is up.

A timer of the system sends an alarm, and the handler of the alarm raises the exception. Two rules make that safe:

- The handler raises only while a limit is on (it reads a flag), and never in the code of this file. So an alarm that
  is still pending when the work ends cannot raise in the code that runs next.
- The handler never interrupts an import: a half-initialised module would break everything that uses it later. It
  waits until the import is over, and then the work has its full time again. An import that takes longer than
  `IMPORT_TIMEOUT` is stopped all the same; the modules that it leaves of a package are then removed.
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

WALL_CLOCK_FACTOR = 4  # wall-clock time that an answer may take, as a multiple of its processor time
IMPORT_TIMEOUT = 60.0  # seconds of processor time; the wall-clock limit is `WALL_CLOCK_FACTOR` times as much

Result = TypeVar("Result")


class OutOfTime(BaseException):
    """The work was stopped. Not an `Exception`, so that ``except Exception`` in an answer does not catch it."""


class _Limit:
    """One limit, from the moment when its clock starts.

    Args:
        seconds: of work, and in all.
        error: makes what is raised; it is given what was being imported for too long, else an empty text.
        again: seconds until the next alarm, if the work caught what the first one raised.
    """

    def __init__(self, seconds: tuple[float, float], error: Callable[[str], BaseException], again: float) -> None:
        self.seconds, self.error, self.again = seconds, error, again
        self.on = False
        self.frame: FrameType | None = None  # from which the work is called
        self.ends = self._from_now()
        self.imports_end = (math.inf, math.inf)  # known once an alarm has found an import
        self.importing = False
        self.unfinished: list[str] = []

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
        """Whether the import that runs now may continue."""
        if self.imports_end[0] == math.inf:
            self.imports_end = process_time() + IMPORT_TIMEOUT, monotonic() + WALL_CLOCK_FACTOR * IMPORT_TIMEOUT
        return process_time() < self.imports_end[0] and monotonic() < self.imports_end[1]

    def wait(self, kind: int) -> float:
        """Seconds until this limit must be checked again, of work (0) or in all (1)."""
        left = self.ends[kind] - (process_time(), monotonic())[kind]
        return max(min(left, self.again) if self.importing and left < math.inf else left, 1e-6)


_limits: list[_Limit] = []  # that are on, the outermost first
_excused = [0.0, 0.0]  # seconds that imports took beyond a limit: of work, in all


def working_time() -> float:
    """Processor time in seconds, without the time in which a limit waits for an import."""
    return process_time() - _excused[0]


def passing_time() -> float:
    """Wall-clock time in seconds, without the time in which a limit waits for an import."""
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
        working: processor time in seconds, because a busy machine is not the answer's fault.
        passing: wall-clock time in seconds.
        error: makes what is raised; it is given the name of the module that was being imported for too long, if
            that was the reason, else an empty text.
        again: seconds until it is raised again, if the work catches it.

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
        _remove_unfinished(limit.unfinished)
        for number, handler in before.items():
            # Where there was none, this one stays: a late alarm would end the process.
            if handler not in (None, signal.SIG_DFL, _on_alarm):
                signal.signal(number, handler)
        limit.frame = None  # no cycle


def _set_timers() -> None:
    """Set the timers so that the next alarm comes when the first limit must be checked."""
    for kind, timer in enumerate((signal.ITIMER_PROF, signal.ITIMER_REAL)):
        waits = [(limit.wait(kind), limit.again) for limit in _limits if limit.ends[kind] < math.inf]
        signal.setitimer(timer, *min(waits, default=(0, 0)))


def _on_alarm(number: int, frame: FrameType | None) -> None:
    """Check all limits, and raise if the time of one is up."""
    if frame is None or frame.f_globals is globals():
        return  # the next alarm finds the work, if it still runs
    for limit in _limits:
        if limit.on and (limit.importing or limit.is_over()):
            module = _imported_below(frame, limit.frame)
            limit.importing = bool(module)
            if not module and not limit.is_over():
                continue  # an import has ended since the last check
            if module and limit.may_import():
                limit.start_anew()
                continue
            if module:
                limit.unfinished = [name for name, made in [*sys.modules.items()] if _is_unfinished(made)]
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


def _is_unfinished(module: Any) -> bool:
    return bool(getattr(getattr(module, "__dict__", {}).get("__spec__"), "_initializing", False))


def _remove_unfinished(names: list[str]) -> None:
    """Remove the rest of packages whose import was stopped, so that the next import starts from the beginning.

    Python itself has removed the unfinished modules, but not the finished modules inside of them.
    """
    lost = [f"{name}." for name in names if name not in sys.modules]
    for name in [name for name in sys.modules if name.startswith(tuple(lost))]:
        del sys.modules[name]
