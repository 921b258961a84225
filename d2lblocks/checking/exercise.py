"""An exercise as data: its checks, their cases, what the reference gave, and the mistakes that are known.

`exercises/<assignment>/public.json` holds that for the public cases. It is all that `check` needs, and it holds
neither a reference nor a secret case.
"""

from __future__ import annotations

import inspect
import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from d2lblocks.checking.case import Case
from d2lblocks.checking.expressions import refuse_unsafe
from d2lblocks.checking.observation import Observation, decode_observation, encode
from d2lblocks.checking.probes import PROBES


@dataclass(frozen=True)
class Check:
    """One thing that is checked, and what it is worth.

    Attributes:
        id: short name: ``"gradients"``.
        title: for the student: ``"Gradients reach everything"``.
        points: lost if any case differs from the reference.
        probe: how it is observed, a name in `probes.PROBES`.
        hints: pattern (`fnmatch`) of ``"what was observed: kind of difference"`` to a sentence that helps. The
            kinds are those of `judge.Difference`.
        on: the groups of cases that it is tried on.
        options: of the probe.
        cases: those of the groups.
    """

    id: str
    title: str
    points: float
    probe: str
    hints: dict[str, str] = field(default_factory=dict)
    on: tuple[str, ...] = ("main",)
    options: dict[str, Any] = field(default_factory=dict)
    cases: tuple[Case, ...] = ()

    def tried_on(self, cases: Iterable[Case]) -> Check:
        """This check with those of the cases that it is for."""
        return replace(self, cases=tuple(case for case in cases if case.group in self.on))


@dataclass(frozen=True)
class Known:
    """A known mistake, as a checker recognises it.

    Attributes:
        id: its name in the catalogue.
        title: what it is called on the book's page of common mistakes.
        message: what to tell the student, two sentences.
        see: the section of the book, ``"custom_layers.html#custom-layers-weight-data"``.
        observed: for each check that it fails (by id), what it gave in each public case.
    """

    id: str
    title: str
    message: str
    see: str
    observed: dict[str, tuple[Observation, ...]]


@dataclass(frozen=True)
class Exercise:
    """What it takes to judge an answer.

    Attributes:
        name: such as ``"my_linear"``.
        defines: the name that the answer defines: ``"MyLinear"``.
        cases: all of them, in their order.
        checks: with their cases.
        expected: for each check (by id), what the reference gave in each case.
        known: the mistakes that can be named.
        book: the address of the website, ``"https://example.org/course/"``; empty if it has none.
        imports: modules that are imported before the clock starts, because answers need them and they take long.
    """

    name: str
    defines: str
    cases: tuple[Case, ...]
    checks: tuple[Check, ...]
    expected: dict[str, tuple[Observation, ...]]
    known: tuple[Known, ...] = ()
    book: str = ""
    imports: tuple[str, ...] = ()

    @property
    def see(self) -> str:
        """The section of the book that most of its known mistakes are explained in; empty if none is known."""
        places = Counter(known.see for known in self.known)
        return places.most_common(1)[0][0] if places else ""

    @property
    def points(self) -> float:
        """The points of all checks together."""
        return sum(check.points for check in self.checks)

    @cached_property
    def largest(self) -> int:
        """The bytes of the largest observation of the reference, in its JSON form."""
        return max((len(json.dumps(encode(seen))) for all_ in self.expected.values() for seen in all_), default=0)

    def to_json(self) -> dict[str, Any]:
        """This exercise as JSON, without the catalogue's sources."""
        return {
            "defines": self.defines,
            "book": self.book,
            "imports": list(self.imports),
            "cases": [case.form for case in self.cases],
            "checks": [
                {
                    "id": check.id,
                    "title": check.title,
                    "points": check.points,
                    "probe": check.probe,
                    "hints": check.hints,
                    "on": list(check.on),
                    "options": check.options,
                    "expected": [encode(seen) for seen in self.expected[check.id]],
                }
                for check in self.checks
            ],
            "known": [
                {
                    "id": known.id,
                    "title": known.title,
                    "message": known.message,
                    "see": known.see,
                    "observed": {check: [encode(o) for o in seen] for check, seen in known.observed.items()},
                }
                for known in self.known
            ],
        }

    @classmethod
    def from_json(cls, name: str, form: Any) -> Exercise:
        """The exercise that `to_json` wrote; the input may come from a stranger.

        Raises:
            BadObservation: something is not the form of an observation.
            ValueError: something else is not what `to_json` writes, or may not be in a release.
        """
        cases = tuple(_case(each) for each in _list(form, "cases"))
        checks, expected = [], {}
        for each in _list(form, "checks"):
            check = Check(
                id=_text(each, "id", _NAME),
                title=_text(each, "title"),
                points=_number(each, "points"),
                probe=_text(each, "probe", _NAME),
                hints={_string(k, "hints"): _string(v, "hints") for k, v in _dict(each, "hints").items()},
                on=tuple(_string(group, "on") for group in _list(each, "on")),
                options=_options(each),
            ).tried_on(cases)
            seen = tuple(decode_observation(one) for one in _list(each, "expected"))
            if len(seen) != len(check.cases):
                raise ValueError(f"{check.id} has {len(seen)} observations of {len(check.cases)} cases")
            checks.append(check)
            expected[check.id] = seen
        known = [_known(each, expected) for each in _list(form, "known")]
        imports = tuple(_string(module, "imports") for module in _list(form, "imports"))
        for module in imports:
            if module not in IMPORTS:
                raise ValueError(f"imports: {module[:MAX_SHOWN]!r} is not one of {', '.join(IMPORTS)}")
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name[:MAX_SHOWN]!r} is no name of an exercise")
        return cls(
            name=name,
            defines=_text(form, "defines", _NAME),
            book=_text(form, "book", _ADDRESS),
            imports=imports,
            cases=cases,
            checks=tuple(checks),
            expected=expected,
            known=tuple(known),
        )


# --- what a file says, which may come from a stranger -------------------------------------------------------------

MAX_FILE_BYTES = 16 * 2**20
MAX_TEXT_LENGTH = 5_000
MAX_SHOWN = 60  # characters of what is wrong, in a message
# What answers need that takes long to import. A name from a file would let it run any module that can be found.
IMPORTS = ("torch._dynamo",)
_NAME = re.compile(r"[A-Za-z_][\w-]{0,99}", re.ASCII)
_ADDRESS = re.compile(r"|https://[\w.:-]+(?:/[\w.~%+@-]+)*/?", re.ASCII)
_PLACE = re.compile(r"(?:[\w-]+/)*[\w-]+\.html(?:#[\w-]+)?", re.ASCII)
_DTYPES = re.compile("float32|float64")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def _get(form: Any, key: str, kind: type | tuple[type, ...]) -> Any:
    if not isinstance(form, dict) or key not in form:
        raise ValueError(f"{key} is missing")
    if not isinstance(form[key], kind) or isinstance(form[key], bool):
        raise ValueError(f"{key} is a {type(form[key]).__name__}")
    return form[key]


def _list(form: Any, key: str) -> list[Any]:
    found: list[Any] = _get(form, key, list)
    return found


def _dict(form: Any, key: str) -> dict[str, Any]:
    found: dict[str, Any] = _get(form, key, dict)
    return found


def _number(form: Any, key: str) -> float:
    found: float = _get(form, key, (int, float))
    if not 0 <= found <= 10**6:  # not if it is nan
        raise ValueError(f"{key} is {found:g}")
    return found


def _string(value: Any, key: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{key} has a {type(value).__name__} where a text should be")
    if len(value) > MAX_TEXT_LENGTH:
        raise ValueError(f"{key} has a text of {len(value):,} characters")
    if _CONTROL.search(value):
        raise ValueError(f"{key} has a character that is no text")
    return value


def _text(form: Any, key: str, pattern: re.Pattern[str] | None = None) -> str:
    value = _string(_get(form, key, str), key)
    if pattern and not pattern.fullmatch(value):
        raise ValueError(f"{key} may not be {value[:MAX_SHOWN]!r}")
    return value


def _options(form: Any) -> dict[str, Any]:
    """The options of a probe: those that it has, with plain values."""
    probe, options = _text(form, "probe"), _dict(form, "options")
    if probe not in OPTIONS:
        raise ValueError(f"there is no probe {probe[:MAX_SHOWN]!r}")
    for name, value in options.items():
        if name not in OPTIONS[probe]:
            raise ValueError(f"{probe} has no option {name[:MAX_SHOWN]!r}")
        for member in value if isinstance(value, list) else (value,):
            if isinstance(member, str):
                _string(member, name)
            elif not isinstance(member, bool) and not (isinstance(member, int) and 0 <= member <= MAX_OPTION):
                raise ValueError(f"{name} may not be {str(member)[:MAX_SHOWN]}")
    return options


MAX_OPTION = 100
OPTIONS = {name: frozenset(list(inspect.signature(probe).parameters)[2:]) for name, probe in PROBES.items()}


def _case(form: Any) -> Case:
    build = _get(form, "build", str)
    label = _text(form, "label")
    try:
        refuse_unsafe(build)
    except ValueError as error:
        raise ValueError(f"build of {label[:MAX_SHOWN]!r}: {error}") from error
    _text(form, "dtype", _DTYPES)
    _text(form, "group")
    _text(form, "raises")
    if not -(2**63) <= _get(form, "seed", int) < 2**63:
        raise ValueError("seed is too large")
    _get(form, "inputs", list)
    _get(form, "state", dict)
    return Case.from_json(form)


def _known(form: Any, expected: dict[str, tuple[Observation, ...]]) -> Known:
    observed = {}
    for check, seen in _dict(form, "observed").items():
        observed[check] = tuple(map(decode_observation, _list({check: seen}, check)))
        if len(observed[check]) > len(expected.get(check, ())):
            raise ValueError(f"{check[:MAX_SHOWN]!r} has more observations than cases")
    place = _text(form, "see", _PLACE)
    return Known(_text(form, "id", _NAME), _text(form, "title"), _text(form, "message"), place, observed)


@dataclass(frozen=True)
class Public:
    """What `public.json` says about an assignment.

    Attributes:
        exercises: those that a program checks, by name.
        by_hand: those that are marked by hand, with their points.
    """

    exercises: dict[str, Exercise]
    by_hand: dict[str, float]


def read_public(path: Path) -> Public:
    """What a `public.json` says, which may come from a stranger.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, it is damaged, or it holds what no release holds.
    """
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise ValueError(f"{path.name} cannot be read: it is no file")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read: {error.strerror}") from error
    try:
        return _public(content)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError, MemoryError) as error:
        said = " ".join(str(error).split()) if isinstance(error, ValueError) else type(error).__name__
        raise ValueError(f"{path.name} is damaged or no release: {said[:MAX_ERROR_LENGTH]}") from error


MAX_ERROR_LENGTH = 300


def _public(content: bytes) -> Public:
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"it has more than {MAX_FILE_BYTES // 2**20} MiB")
    form = json.loads(content.decode("utf-8"))
    exercises = {name: Exercise.from_json(name, each) for name, each in _dict(form, "exercises").items()}
    by_hand = _dict(form, "by_hand")
    return Public(exercises, {_string(name, "by_hand"): _number(by_hand, name) for name in by_hand})


def write_public(public: Public) -> str:
    """The text of `public.json`; `read_public` reads it.

    Raises:
        ValueError: `read_public` would refuse it; the message names what it refuses.
    """
    exercises = {name: exercise.to_json() for name, exercise in public.exercises.items()}
    text = json.dumps({"exercises": exercises, "by_hand": public.by_hand}, indent=1) + "\n"
    for name, form in exercises.items():
        try:
            Exercise.from_json(name, json.loads(json.dumps(form)))
        except ValueError as error:
            raise ValueError(f"{name} cannot be released: {error}") from error
    _public(text.encode())
    return text
