"""`public.json`: what a release says about its exercises, written and read.

In: an `exercises/<assignment>/public.json`, which may come from a stranger; out: a `Public`, or a `ValueError` that
names what is wrong; and the other way round. The file is all that `check` needs: the public cases, what the reference
gave in them, and digests of known mistakes. It holds neither a reference nor a secret case.
"""

from __future__ import annotations

import inspect
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from d2lblocks.checking.case import Case
from d2lblocks.checking.digest import STRUCTURE_LENGTH, CaseDigest, ValueDigest
from d2lblocks.checking.exercise import Check, Exercise, Known
from d2lblocks.checking.expressions import refuse_unsafe
from d2lblocks.checking.observation import MAX_MEMBERS, Observation, decode_observation, encode
from d2lblocks.checking.probes import PROBES

MAX_FILE_BYTES = 16 * 2**20
MAX_TEXT_LENGTH = 5_000
MAX_SHOWN = 60  # characters of what is wrong, in a message
MAX_ERROR_LENGTH = 300
# What answers need that takes long to import. A name from a file would let it run any module that can be found.
IMPORTS = ("torch._dynamo",)
_NAME = re.compile(r"[A-Za-z_][\w-]{0,99}", re.ASCII)
_ADDRESS = re.compile(r"|https://[\w.:-]+(?:/[\w.~%+@-]+)*/?", re.ASCII)
_PLACE = re.compile(r"(?:[\w-]+/)*[\w-]+\.html(?:#[\w-]+)?", re.ASCII)
_DTYPES = re.compile("float32|float64")
_STRUCTURE = re.compile(rf"[A-Za-z0-9+/]{{{STRUCTURE_LENGTH}}}")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
MAX_OPTION = 100
OPTIONS = {name: frozenset(list(inspect.signature(probe).parameters)[2:]) for name, probe in PROBES.items()}


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


def _public(content: bytes) -> Public:
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"it has more than {MAX_FILE_BYTES // 2**20} MiB")
    form = json.loads(content.decode("utf-8"))
    exercises = {name: _exercise(name, each) for name, each in _dict(form, "exercises").items()}
    by_hand = _dict(form, "by_hand")
    return Public(exercises, {_string(name, "by_hand"): _number(by_hand, name) for name in by_hand})


def write_public(public: Public) -> str:
    """The text of `public.json`; `read_public` reads it. The same release always gives the same text, on one line.

    Raises:
        ValueError: `read_public` would refuse it; the message names what it refuses.
    """
    exercises = {name: _form(exercise) for name, exercise in public.exercises.items()}
    for name, form in exercises.items():
        try:
            _exercise(name, json.loads(json.dumps(form)))
        except ValueError as error:
            raise ValueError(f"{name} cannot be released: {error}") from error
    form = {"exercises": exercises, "by_hand": public.by_hand}
    text = json.dumps(form, ensure_ascii=False, separators=(",", ":")) + "\n"
    _public(text.encode())
    return text


def _form(exercise: Exercise) -> dict[str, Any]:
    """An exercise as JSON."""
    return {
        "defines": exercise.defines,
        "assignment": exercise.assignment,
        "book": exercise.book,
        "imports": list(exercise.imports),
        "cases": [case.form for case in exercise.cases],
        "checks": [
            {
                "id": check.id,
                "title": check.title,
                "points": check.points,
                "probe": check.probe,
                "hints": check.hints,
                "on": list(check.on),
                "options": check.options,
                "expected": [encode(observation) for observation in exercise.expected[check.id]],
            }
            for check in exercise.checks
        ],
        "known": [
            {
                "id": known.id,
                "title": known.title,
                "message": known.message,
                "see": known.see,
                "digests": {check: list(map(_digest_form, digests)) for check, digests in known.digests.items()},
            }
            for known in exercise.known
        ],
    }


def _digest_form(digest: CaseDigest) -> dict[str, Any]:
    """A digest as JSON: each key's structure, then its numbers; null for a key that is missing."""
    return {key: value and [value.structure, *value.numbers] for key, value in digest.items()}


# --- reading what may come from a stranger ------------------------------------------------------------------------


def _exercise(name: str, form: Any) -> Exercise:
    """The exercise that `_form` wrote.

    Raises:
        BadObservation: something is not the form of an observation.
        ValueError: something else is not what `_form` writes, or may not be in a release.
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
        observations = tuple(decode_observation(one) for one in _list(each, "expected"))
        if len(observations) != len(check.cases):
            raise ValueError(f"{check.id} has {len(observations)} observations of {len(check.cases)} cases")
        checks.append(check)
        expected[check.id] = observations
    imports = tuple(_string(module, "imports") for module in _list(form, "imports"))
    for module in imports:
        if module not in IMPORTS:
            raise ValueError(f"imports: {module[:MAX_SHOWN]!r} is not one of {', '.join(IMPORTS)}")
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name[:MAX_SHOWN]!r} is no name of an exercise")
    return Exercise(
        name=name,
        defines=_text(form, "defines", _NAME),
        assignment=_text(form, "assignment", _NAME),
        book=_text(form, "book", _ADDRESS),
        imports=imports,
        cases=cases,
        checks=tuple(checks),
        expected=expected,
        known=tuple(_known(each, expected) for each in _list(form, "known")),
    )


def _known(form: Any, expected: Mapping[str, tuple[Observation, ...]]) -> Known:
    digests = {}
    for check in _dict(form, "digests"):
        digests[check] = tuple(map(_case_digest, _list(form["digests"], check)))
        if len(digests[check]) > len(expected.get(check, ())):
            raise ValueError(f"{check[:MAX_SHOWN]!r} has more digests than cases")
    return Known(
        id=_text(form, "id", _NAME),
        title=_text(form, "title"),
        message=_text(form, "message"),
        see=_text(form, "see", _PLACE),
        digests=digests,
    )


def _case_digest(form: Any) -> CaseDigest:
    if not isinstance(form, dict) or len(form) > MAX_MEMBERS:
        raise ValueError("a digest is no dict, or too large")
    return {_string(key, "digests"): None if value is None else _value_digest(value) for key, value in form.items()}


def _value_digest(form: Any) -> ValueDigest:
    if not isinstance(form, list) or not form or len(form) > MAX_MEMBERS:
        raise ValueError("the digest of a value is no list, or of impossible length")
    structure, *numbers = form
    if not isinstance(structure, str) or not _STRUCTURE.fullmatch(structure):
        raise ValueError("the digest of a value has no structure")
    if not all(isinstance(number, float) and math.isfinite(number) for number in numbers):
        raise ValueError("the digest of a value has something else than numbers")
    return ValueDigest(structure, tuple(numbers))


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
        raise ValueError(f"{key} has a control character")
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
