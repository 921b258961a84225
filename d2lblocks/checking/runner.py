"""Observe: run a probe on an answer that may misbehave in any way.

In: an answer, the name of a probe, a case and a time limit. Out: the observation, and what the answer printed. What
the answer raises becomes part of the observation. It is stopped when its time is up.
"""

from __future__ import annotations

import builtins
import contextlib
import io
import math
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from d2lblocks.checking.calling import NoTensorReturned
from d2lblocks.checking.case import Case
from d2lblocks.checking.limits import WALL_CLOCK_FACTOR, OutOfTime, run_within
from d2lblocks.checking.observation import (
    BadObservation,
    FailureKind,
    Observation,
    decode_observation,
    encode,
    failure,
)
from d2lblocks.checking.probes import NEEDS, PROBES
from d2lblocks.checking.settings import in_words, usual_settings
from d2lblocks.checking.source_lines import students_line


@contextlib.contextmanager
def _no_input() -> Iterator[None]:
    """Make `input` and `breakpoint` fail at once: in a notebook they would wait for an answer that cannot come."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise RuntimeError("an answer must not wait for input")

    before = builtins.input, sys.breakpointhook
    builtins.input, sys.breakpointhook = refuse, refuse  # type: ignore[assignment]
    try:
        yield
    finally:
        builtins.input, sys.breakpointhook = before


_prepared: set[str] = set()


def prepare(probe: str) -> None:
    """Do once what is slow the first time, so that it does not count towards the time of an answer.

    Args:
        probe: its name. `observe` does this by itself; it is for callers that measure time themselves.
    """
    if probe in NEEDS and probe not in _prepared:
        _prepared.add(probe)
        observe_form(nn.ReLU, probe, Case("once", "answer()", (torch.ones(2),)), math.inf)


def observe(
    answer: Any, probe: str, case: Case, seconds: float = 2.0, options: Mapping[str, Any] | None = None
) -> tuple[Observation, str]:
    """Run a probe on an answer that may do anything.

    Args:
        answer: the student's class or function.
        probe: the name of a probe in `PROBES`.
        case: what to try it on.
        seconds: how long it may take.
        options: of the probe.

    Returns:
        The observation, and what the answer printed, with a sentence about settings of the process that it changed.
        An exception gives an observation with the one key ``"raised"``: a dict with `type`, `bases` (the names of the
        classes that it is derived from), `message` and `line`, the student's line where it came from. If the answer
        failed without an exception of its own, the `type` is a `FailureKind`.
    """
    form, printed = observe_form(answer, probe, case, seconds, options)
    return decode_observation(form), printed


def observe_form(
    answer: Any, probe: str, case: Case, seconds: float = 2.0, options: Mapping[str, Any] | None = None
) -> tuple[Any, str]:
    """`observe`, with the observation in its JSON form, in which it travels."""
    prepare(probe)
    printed = io.StringIO()
    with (
        usual_settings() as left,
        _no_input(),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
    ):
        try:
            form = run_within(
                lambda: encode(PROBES[probe](answer, case, **(options or {}))),
                working=seconds,
                passing=WALL_CLOCK_FACTOR * seconds,
            )
        except KeyboardInterrupt:
            raise
        except OutOfTime as error:
            why = (
                f"while it imported {error}, which takes too long" if str(error) else f"after {round(seconds, 1):g} s"
            )
            form = encode(failure(FailureKind.TIMEOUT, f"was stopped {why}"))
        except BadObservation as error:
            form = encode(failure(FailureKind.BAD_OBSERVATION, str(error)))
        except NoTensorReturned as error:
            form = encode(failure(error.kind, str(error)))
        except BaseException as error:  # SystemExit too: nothing that an answer raises may end the grading
            form = encode({"raised": _describe_exception(error)})
    remark = in_words("Your answer", left)
    return form, printed.getvalue() + (f"{remark}\n" if remark else "")


def describe(answer: Any) -> Observation:
    """What kind of object an answer is, before it is tried: `is_module`, `is_callable` and the name of its `type`."""
    return {
        "is_module": isinstance(answer, nn.Module),
        "is_callable": callable(answer),
        "type": type(answer).__name__,
    }


def _describe_exception(error: BaseException) -> Observation:
    try:
        message = str(error)[:300]
    except Exception:
        message = "(its message cannot be read)"
    bases = (kind.__name__ for kind in type(error).__mro__[1:-1])
    return {"type": type(error).__name__, "bases": [*bases], "message": message, "line": students_line(error)}
