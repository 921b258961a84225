"""Send the judge what a hostile worker could send, and see that nothing breaks and nothing wrong passes.

    python -m tests.stress.fuzz --messages 100000

Three doors stand open to a submission: the framing of messages, the observations, and the outputs of cells. Behind
the second, real observations of right answers are spoilt: a number, a dtype or a shape is changed, keys are
dropped, added and swapped, things are nested too deeply, lengths lie. The judge must refuse or judge them without any
error, and a check may pass only where another, slow comparison, which is written here and knows the rule from the
documentation alone, finds every number within the tolerance.
"""

from __future__ import annotations

import argparse
import base64
import copy
import json
import math
import random
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor

from d2lblocks.checking.compare import TOLERANCE
from d2lblocks.checking.exercise import Exercise
from d2lblocks.checking.judge import judge
from d2lblocks.checking.observation import MAX_CHARACTERS, FailureKind, encode
from d2lblocks.checking.pipeline import conclude
from grader.display.pictures import Pictures
from grader.grading import engine
from grader.grading.job import GradingJob
from grader.grading.outputs import MAX_CELL_OUTPUT, cell_outputs
from grader.grading.submission_grader import SubmissionGrader
from grader.sandbox.inside import protocol
from grader.sandbox.worker_client import WorkerClient, WorkerFailure
from tests.stress.origin import origin

ROOT = Path(__file__).resolve().parents[2]
EXERCISES = {
    "custom_layers": ("my_linear", "tensor_reduction", "running_center"),
    "layers_and_blocks": ("parallel_block", "init_xavier"),
}
SEED = 7
MESSAGE_TIMEOUT = 5.0  # of the processor: more would be an attack on the judge, less is no promise
MAX_REPORT_LENGTH = 100_000  # characters

Json = Any


# --- the rule, once more --------------------------------------------------------------------------------------------


def equal(one: Any, other: Any) -> bool:
    """Whether an observation is what was expected, entry by entry, without any of the judge's code.

    Args:
        one: observed.
        other: expected.
    """
    if isinstance(other, Tensor):
        if not isinstance(one, Tensor) or one.dtype != other.dtype or list(one.shape) != list(other.shape):
            return False
        relative, absolute = TOLERANCE.get(other.dtype, (0.0, 0.0))
        pairs = zip(one.reshape(-1).tolist(), other.reshape(-1).tolist(), strict=True)
        return all(_near(a, b, relative * 1.01, absolute * 1.01) for a, b in pairs)
    if type(one) is not type(other):
        return False
    if isinstance(other, dict):
        if "raised" in other and isinstance(other["raised"], dict):
            seen = one.get("raised")
            if not isinstance(seen, dict):
                return False
            bases = seen.get("bases")
            kinds = [seen.get("type"), *(bases if isinstance(bases, list) else [])]
            return any(type(kind) is str and kind == other["raised"]["type"] for kind in kinds)
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in other)
    if isinstance(other, list):
        return len(one) == len(other) and all(equal(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(other, float):
        return _near(one, other, 1.01e-6, 1.01e-9)
    return bool(one == other)


def _near(a: complex, b: complex, relative: float, absolute: float) -> bool:
    if a == b:
        return True
    if a != a or b != b:
        return a != a and b != b
    difference = abs(a - b)
    return math.isfinite(difference) and difference <= absolute + relative * max(abs(a), abs(b))


# --- what is spoilt -------------------------------------------------------------------------------------------------


@cache
def exercises() -> tuple[Exercise, ...]:
    """Real exercises, with secret cases and what their references give."""
    judge = SubmissionGrader(GradingJob(ROOT / "solutions", ROOT / "exercises", SEED))
    return tuple(
        judge.prepare(assignment).exercises[name] for assignment, names in EXERCISES.items() for name in names
    )


def _somewhere(form: Json, chance: random.Random) -> tuple[Any, Any]:
    """A container somewhere in a tree and a key of it; (None, None) if there is none."""
    places = list(_places(form))
    return chance.choice(places) if places else (None, None)


def _places(form: Json) -> Iterator[tuple[Any, Any]]:
    if isinstance(form, dict | list):
        for key in form if isinstance(form, dict) else range(len(form)):
            yield form, key
            yield from _places(form[key])


def _tensors(form: Json) -> list[dict[str, Any]]:
    return [parent[key] for parent, key in _places(form) if key == "tensor" and isinstance(parent[key], dict)]


def _junk(chance: random.Random) -> Json:
    """Something that does not belong there."""
    if chance.random() < 0.6:
        return _strange(chance)
    deep: Json = 1
    for _ in range(chance.choice((3, 9, 60))):
        deep = [deep] if chance.random() < 0.5 else {"dict": {"x": deep}}
    return chance.choice(
        [
            *(None, True, False, 0, 1, -1, 2**63, -(2**80), 10**400, 0.0, -0.0, 1e308, 5e-324),
            *(math.nan, math.inf, -math.inf, "", "pass", "nan", "\ud800", "\x00", "é" * 10, "x" * 5000),
            *([], {}, [[]], [0] * 3000, {"dict": {}}, {"dict": []}, {"dict": {"raised": None}}, {"float": "nan"}),
            *({"float": "inf"}, {"float": 1.0}, {"float": ["nan"]}, {"tensor": None}, {"tensor": {}}, deep),
            {"tensor": {"dtype": "float32", "shape": "", "data": "AACAPw=="}},
            {"tensor": {"dtype": "float32", "shape": {}, "data": "AACAPw=="}},
            {"tensor": {"dtype": "float32", "shape": [], "data": "AACAPw=="}},
            {"tensor": {"dtype": "int64", "shape": [2], "data": base64.b64encode(bytes(range(16))).decode()}},
            {"tensor": {"dtype": "float32", "shape": [0, *[4_000_000] * chance.randrange(8)], "data": ""}},
            {"tensor": {"dtype": ["float32"], "shape": [1], "data": "AACAPw=="}},
        ]
    )


def _strange(chance: random.Random) -> Json:
    """Something that has the form of an observation, and is none that was asked for."""
    numbers = [chance.choice((0.0, 1.0, -2.5, math.nan, math.inf)) for _ in range(4)]
    tensor = encode(torch.tensor(numbers).reshape(2, 2))
    kind = chance.choice(["ValueError", "OutOfTime", "NotImplementedError", "Crash", "", "x" * 2000, tensor, None, 7])
    lines = chance.choice(["", "return x", tensor, [tensor], {"dict": {}}, 0, math.nan])
    raised = {
        "type": kind,
        "message": chance.choice(["", "a. b", lines, tensor]),
        "line": lines,
        "bases": [kind, tensor],
    }
    return chance.choice(
        [
            *(
                tensor,
                [tensor],
                [tensor, tensor],
                [1, tensor],
                [True, 1.0, "x"],
                None,
                0,
                1,
                10**30,
                math.nan,
                "",
                "x",
            ),
            *(
                {"dict": {"": tensor}},
                {"dict": {}},
                {"dict": {"x" * 2000: 1}},
                [],
                [[]],
                [10**400] * 1000,
                -(10**4000),
            ),
            *(
                {"dict": {f"key {i}": 1 for i in range(1000)}},
                {"dict": {"raised": tensor}},
                {"dict": {"raised": None}},
            ),
            *([{"dict": {"raised": {"dict": raised}}}] * 6),
        ]
    )


def _change_number(form: Json, chance: random.Random) -> None:
    """Change the bytes of a tensor: all of one entry, one bit, or by a small part."""
    tensors = [tensor for tensor in _tensors(form) if tensor.get("data")]
    if not tensors:
        return
    tensor = chance.choice(tensors)
    try:
        data = bytearray(base64.b64decode(tensor["data"]))
    except (TypeError, ValueError):  # it has been spoilt before
        return
    at = chance.randrange(len(data) or 1)
    if not data:
        return
    if tensor.get("dtype") == "float32" and len(data) % 4 == 0 and chance.random() < 0.7:
        at -= at % 4
        (number,) = struct.unpack_from("<f", data, at)
        by = chance.choice((1e-7, 1e-6, 1e-5, 5e-5, 2e-4, 1e-3, 1.0, -2.0, 1e30, math.nan, math.inf))
        data[at : at + 4] = torch.tensor([number + by * (abs(number) or 1)]).numpy().tobytes()
    else:
        data[at] ^= 1 << chance.randrange(8)
    tensor["data"] = base64.b64encode(data).decode()


def _change_shape(form: Json, chance: random.Random) -> None:
    for tensor in _tensors(form)[:1] or []:
        shape = tensor.get("shape")
        if isinstance(shape, list):
            kind = chance.randrange(5)
            if kind == 0:
                chance.shuffle(shape)
            elif kind == 1:
                shape.append(chance.choice((1, 0, -1, 2**70, 1.0, None, True)))
            elif kind == 2 and shape:
                shape.pop()
            elif kind == 3:
                tensor["shape"] = [math.prod(size for size in shape if type(size) is int)]
            else:
                tensor["shape"] = _junk(chance)


def _change_dtype(form: Json, chance: random.Random) -> None:
    tensors = _tensors(form)
    if tensors:
        chance.choice(tensors)["dtype"] = chance.choice(
            ["float64", "float16", "bfloat16", "int32", "bool", "uint8", "complex64", "complex32", "", None, {}]
        )


def _change_data(form: Json, chance: random.Random) -> None:
    tensors = _tensors(form)
    if tensors:
        tensor = chance.choice(tensors)
        data = str(tensor.get("data"))
        tensor["data"] = chance.choice(
            [data[:-1], data[:-4], data + "AAAA", data + "=", "é" + data, data * 2, None, 7, [data]]
        )


def _drop(form: Json, chance: random.Random) -> None:
    parent, key = _somewhere(form, chance)
    if parent is not None:
        del parent[key]


def _add(form: Json, chance: random.Random) -> None:
    parent, key = _somewhere(form, chance)
    if isinstance(parent, dict):
        new = chance.choice(
            (key, "raised", "output", "tensor", "dict", "float", "x" * (MAX_CHARACTERS + 1), "\udfff")
        )
        parent[f"{new} " if new == key else new] = _junk(chance)
    elif isinstance(parent, list):
        parent.insert(key, _junk(chance))


def _replace(form: Json, chance: random.Random) -> None:
    parent, key = _somewhere(form, chance)
    if parent is not None:
        parent[key] = _junk(chance)


def _swap(form: Json, chance: random.Random) -> None:
    (one, a), (other, b) = _somewhere(form, chance), _somewhere(form, chance)
    if one is not None:
        one[a], other[b] = copy.deepcopy(other[b]), copy.deepcopy(one[a])


def _near_type(form: Json, chance: random.Random) -> None:
    """Put in the place of a plain value another that Python calls equal."""
    plain = [(p, k) for p, k in _places(form) if type(p[k]) in (bool, int, float)]
    if plain:
        parent, key = chance.choice(plain)
        value = parent[key]
        if abs(value) > 2**53:
            return
        parent[key] = chance.choice([float(value), int(value), bool(value)]) if value in (0, 1) else float(value)


SPOIL: tuple[Callable[[Json, random.Random], None], ...] = (
    *(_change_number, _change_number, _change_shape, _change_dtype, _change_data),
    *(_drop, _add, _replace, _swap, _near_type),
)


# --- the three doors ------------------------------------------------------------------------------------------------


@dataclass
class Count:
    """What became of the messages."""

    of: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0

    def add(self, kind: str, seconds: float) -> None:
        """Count a message."""
        self.of["messages"] += 1
        self.of[kind] += 1
        self.slowest = max(self.slowest, seconds)
        assert seconds < MESSAGE_TIMEOUT, f"{kind}: {seconds:.1f} s for one message"

    def __str__(self) -> str:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in sorted(self.of.items()) if kind != "messages")
        return f"{self.of['messages']:,} messages: {kinds}; the slowest took {self.slowest:.2f} s"


def observations(chance: random.Random, count: Count) -> None:
    """Spoil one observation of a right answer, or exchange two, and have the exercise judged.

    Raises:
        AssertionError: a check passed that must not, or one failed that must pass.
    """
    start = time.process_time()
    exercise = chance.choice(exercises())
    forms = {check: [encode(seen) for seen in expected] for check, expected in exercise.expected.items()}
    spoilt = chance.choice([check for check in forms if forms[check]])
    at = chance.randrange(len(forms[spoilt]))
    if chance.random() < 0.1:
        other = chance.choice([check for check in forms if forms[check]])
        forms[spoilt][at] = forms[other][chance.randrange(len(forms[other]))]
    holder = {"seen": forms[spoilt][at]}
    if chance.random() < 0.1:
        holder["seen"] = _junk(chance)
    elif chance.random() < 0.97:  # a few stay as they are, and must pass
        for _ in range(chance.choice((1, 1, 1, 2, 5))):
            chance.choice(SPOIL)(holder, chance)
    try:
        message = protocol.parse(json.dumps(holder))
    except (ValueError, RecursionError):
        message = holder
    seen, printed = engine.read_observation(message)
    observed = {check: list(expected) for check, expected in exercise.expected.items()}
    observed[spoilt][at] = seen
    by_check = {verdict.check.id: verdict for verdict in judge(exercise, observed)}
    report = conclude(exercise, observed, printed, remark="")
    for shown in (repr(report), report._repr_html_()):
        assert len(shown) < MAX_REPORT_LENGTH, f"a report of {len(shown):,} characters"
        shown.encode()
    assert report.points <= exercise.points
    passed = by_check[spoilt].passed
    right = equal(seen, exercise.expected[spoilt][at])
    assert not passed or right, f"{exercise.name}, {spoilt}: passed with {json.dumps(message)[:2000]}"
    assert (by_check[spoilt].points > 0) == passed
    assert all(verdict.passed for check, verdict in by_check.items() if check != spoilt)
    refused = seen.get("raised") if isinstance(seen.get("raised"), dict) else {}
    kind = "passed and equal" if passed else "failed"
    if isinstance(refused, dict) and refused.get("type") == FailureKind.BAD_OBSERVATION:
        kind = "refused"
    count.add(f"observations {kind}", time.process_time() - start)


def frames(chance: random.Random, count: Count) -> None:
    """Send bytes that are a message, almost one, or none, and have them received.

    Raises:
        AssertionError: something else came out than what was sent.
    """
    start = time.process_time()
    sent = {
        "seen": encode(chance.choice(list(exercises()[0].expected.values()))[0]),
        "printed": "π" * chance.randrange(9),
    }
    good = protocol.pack(sent)
    data = bytearray(good)
    for _ in range(chance.choice((0, 1, 1, 2, 9))):
        at = chance.randrange(len(data)) if data else 0
        match chance.randrange(6):
            case 0 if data:
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                del data[at:]
            case 2:
                data[:4] = struct.pack("!I", chance.choice((0, 1, len(data), 2**25, 2**25 + 1, 2**32 - 1)))
            case 3:
                body = chance.choice(
                    (b"[]", b"1", b"null", b"{", b"NaN", b'"' + b"x" * 99, b"[" * 5000, b"9" * 5000, b"\xff")
                )
                data = bytearray(struct.pack("!I", len(body)) + body)
            case 4:
                data += chance.randbytes(chance.randrange(1, 20))
            case _:
                data[at:at] = chance.choice((b"\\ud800", b"\x00", b"}", b'{"a":', b"\xf0"))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(1)
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        try:
            received = protocol.receive(ours)
        except protocol.ProtocolError:
            assert data != good
            count.add("frames refused", time.process_time() - start)
            return
    assert isinstance(received, dict)
    assert received == sent or data[: len(good)] != good
    count.add("frames received", time.process_time() - start)


def outputs(chance: random.Random, count: Count) -> None:
    """Answer a cell, or the question what a name is, with what does not belong there.

    Raises:
        AssertionError: what is kept is no output of a notebook, or too much.
    """
    start = time.process_time()
    real: list[Json] = [
        {"output_type": "stream", "name": "stdout", "text": "hello\n"},
        {"output_type": "error", "ename": "E", "evalue": "no", "traceback": ["E", "no"]},
        {"output_type": "execute_result", "data": {"text/plain": "1", "text/html": "<b>"}, "metadata": {}},
        {"output_type": "display_data", "data": {"image/png": "iVBORw0KGgo=", "text/plain": "fig"}, "metadata": {}},
    ]
    answer: dict[str, Json] = {"outputs": chance.choices(real, k=chance.randrange(5)), "raised": ""}
    answer = copy.deepcopy(answer)
    answer["answer"] = {"is_module": False, "is_callable": True, "type": "type"}
    for _ in range(chance.choice((1, 2, 5))):
        chance.choice((_drop, _add, _replace, _swap))(answer, chance)
    if chance.random() < 0.02:
        answer["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "\ud800" * 3_000_000}] * 3
    try:
        answer = protocol.parse(json.dumps(answer))
    except (ValueError, RecursionError):  # it would not have arrived
        count.add("outputs refused", time.process_time() - start)
        return
    kept = cell_outputs(answer, 3, Pictures())
    cell = nbformat.v4.new_code_cell("1", id="one", outputs=kept, execution_count=3)
    notebook = nbformat.v4.new_notebook(cells=[cell])
    nbformat.validate(notebook)
    text = nbformat.v4.writes(notebook).encode()
    assert len(text) < MAX_CELL_OUTPUT + 10_000, f"{len(text):,} bytes of outputs"
    assert not any({"text/html", "image/svg+xml"} & set(output.get("data", ())) for output in kept)
    report = engine.examine(exercises()[0], _Answers(answer), "")
    assert report.points == 0
    assert len(repr(report).encode()) < MAX_REPORT_LENGTH
    count.add("outputs kept" if kept else "outputs dropped", time.process_time() - start)


class _Answers(WorkerClient):
    """A worker that gives one and the same answer to everything."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self.answer = answer

    def ask(self, message: dict[str, Any], timeout: float, max_bytes: int) -> dict[str, Any] | WorkerFailure:
        """Give the answer."""
        return self.answer


DOORS = {"observations": observations, "frames": frames, "outputs": outputs}
SHARES = {"observations": 0.7, "frames": 0.15, "outputs": 0.15}


def fuzz(door: str, messages: int, count: Count, *, same_each_time: bool = False) -> None:
    """Send so many messages through one of the doors.

    Hypothesis draws a seed for each, from which everything that is done to it follows; it says the one that fell.

    Args:
        door: a key of `DOORS`.
        messages: how many.
        count: what became of them.
        same_each_time: the same ones in every run.
    """

    exercises()  # not a part of the first message

    @settings(
        max_examples=messages,
        deadline=None,
        database=None,
        derandomize=same_each_time,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.randoms(use_true_random=True))
    def send(chance: random.Random) -> None:
        DOORS[door](chance, count)

    send()


def main() -> int:
    """Send as many messages as the command line says; exit status 1 if anything fell."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.stress.fuzz", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--messages", type=int, default=100_000, metavar="N", help="default: 100,000")
    parser.add_argument("--log", type=Path, metavar="FILE", help="default: only what is printed")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    lines = [origin(f"python -m tests.stress.fuzz --messages {arguments.messages}")]
    for door, share in SHARES.items():
        count, start = Count(), time.monotonic()
        fuzz(door, round(arguments.messages * share), count)
        lines.append(f"{door}: {count}, all {time.monotonic() - start:.0f} s")
        print(lines[-1], flush=True)
    if arguments.log:
        arguments.log.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
