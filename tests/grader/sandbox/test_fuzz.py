"""What a hostile worker can send: a few thousand of the messages that `make fuzz` sends by the hundred thousand."""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from d2lblocks.checking.compare import compare
from d2lblocks.checking.judge import judge
from d2lblocks.checking.observation import MAX_MEMBERS, BadObservation, decode, decode_observation
from grader.sandbox.inside import protocol
from tests.stress import fuzz


@pytest.mark.parametrize(("door", "messages"), [("observations", 1000), ("frames", 600), ("outputs", 400)])
def test_nothing_breaks_and_nothing_wrong_passes(door, messages):
    count = fuzz.Count()
    fuzz.fuzz(door, messages, count, same_each_time=True)
    assert count.of["messages"] >= messages
    kinds = {"observations": 3, "frames": 2, "outputs": 2}[door]  # refused, failed, passed: each has been reached
    assert len(count.of) - 1 >= kinds


@pytest.mark.parametrize("exercise", fuzz.exercises(), ids=lambda exercise: exercise.name)
def test_the_slow_comparison_agrees_on_what_the_references_give(exercise):
    """Every observation against every other: the two comparisons share no code, and never differ."""
    everything = [seen for expected in exercise.expected.values() for seen in expected][:60]
    pairs = [(one, other) for one in everything for other in everything]
    assert [fuzz.equal(one, other) for one, other in pairs] == [not list(compare(*pair)) for pair in pairs]
    assert sum(fuzz.equal(one, other) for one, other in pairs) < len(pairs)


def tensor(**more):
    return {"tensor": {"dtype": "float32", "shape": [1], "data": "AACAPw==", **more}}


@pytest.mark.parametrize(
    "form",
    [
        tensor(shape=""),
        tensor(shape={}),
        tensor(shape=[True]),
        tensor(shape=[0, *[4_000_000] * 7], data=""),
        tensor(data="AACAPw"),
        tensor(data=["AACAPw=="]),
        tensor(dtype=["float32"]),
        {"dict": {"x" * 3000: 1}},
        {"dict": {"half \ud800": 1}},
        "half \ud800",
        [[0] * MAX_MEMBERS] * 100,
    ],
    ids=range(11),
)
def test_what_cannot_be_an_observation_is_refused(form):
    with pytest.raises(BadObservation):
        decode({"dict": {"output": form}})


@pytest.mark.parametrize(
    "seen",
    [
        {"raised": {"dict": {"type": "ValueError", "message": "no", "line": {"tensor": tensor()["tensor"]}}}},
        {"raised": {"dict": {"type": tensor(shape=[2], data="AACAPwAAgD8="), "bases": [None, tensor()]}}},
        {"raised": {"dict": {"type": "NotImplementedError", "message": tensor(shape=[2], data="AACAPwAAgD8=")}}},
        {"raised": None},
        {"": 1},
        {},
    ],
)
def test_an_observation_that_is_made_up_earns_nothing_and_breaks_nothing(seen):
    for exercise in fuzz.exercises():
        made_up = decode_observation({"dict": seen})
        verdicts = judge(exercise, {check.id: [made_up] * len(check.cases) for check in exercise.checks})
        assert sum(verdict.points for verdict in verdicts) == 0
        assert sum(len(verdict.message) for verdict in verdicts) < 10_000


@pytest.mark.parametrize(("one", "other"), [([1], [True]), ([1.0], [1]), ([0], [False]), (1, True), (1.0, 1)])
def test_what_python_calls_equal_is_told_apart(one, other):
    assert list(compare({"x": one}, {"x": other}))


@contextlib.contextmanager
def byte_by_byte(packed: bytes, pause: float) -> Iterator[socket.socket]:
    """A socket on which a message arrives byte by byte; at the end the other side closes it."""
    ours, theirs = socket.socketpair()

    def send() -> None:
        with contextlib.suppress(OSError), theirs:
            for byte in packed:
                theirs.sendall(bytes([byte]))
                time.sleep(pause)

    sender = threading.Thread(target=send)
    with ours:
        sender.start()
        yield ours
    sender.join()


def test_a_message_that_arrives_slowly_does_not_hold_up_the_grader():
    """All of it would take twenty seconds at least; then it would be no message, because an end is missing."""
    with byte_by_byte(struct.pack("!I", 30_000) + b" " * 20_000, 0.001) as slow:
        slow.settimeout(0.5)
        with pytest.raises(TimeoutError):
            protocol.receive(slow)
        assert slow.gettimeout() == 0.5
