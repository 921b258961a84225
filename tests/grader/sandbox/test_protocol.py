"""Messages that are too large, and sides that were stopped."""

import itertools
import socket
import struct
import threading

import pytest

from grader.sandbox.inside import protocol


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(60)
        yield ours, theirs


@pytest.fixture
def much_time_passes(monkeypatch):
    """A quarter of an hour between any two looks at the clock: this process was stopped, again and again."""
    clock = itertools.count(step=900)
    monkeypatch.setattr(protocol.time, "monotonic", lambda: float(next(clock)))


def later(send, *what):
    sender = threading.Timer(0.2, send, what)
    sender.start()
    return sender


def test_a_message_that_is_too_large_is_discarded_and_the_next_is_received(ends):
    ours, theirs = ends
    large = protocol.pack({"text": "x" * 2**20})
    sender = later(lambda: [theirs.sendall(large), protocol.send(theirs, {"n": 1})])
    with pytest.raises(protocol.MessageTooLarge) as caught:
        protocol.receive(ours, max_bytes=1000)
    assert caught.value.size == len(large) - 4
    assert protocol.receive(ours, max_bytes=1000) == {"n": 1}
    sender.join()


def test_what_is_larger_than_any_message_is_not_even_discarded(ends):
    ours, theirs = ends
    theirs.sendall(struct.pack("!I", protocol.MAX_BYTES + 1))
    with pytest.raises(protocol.ProtocolError) as caught:
        protocol.receive(ours, max_bytes=1000)
    assert not isinstance(caught.value, protocol.MessageTooLarge)


def test_time_in_which_the_reader_was_stopped_does_not_count(ends, much_time_passes):
    ours, theirs = ends
    packed = protocol.pack({"n": 1})
    theirs.sendall(packed[:5])
    sender = later(theirs.sendall, packed[5:])
    deadline = protocol.Deadline(30)
    assert protocol.receive_before(deadline, ours, 1000)[0] == {"n": 1}
    assert deadline.waited <= 30
    sender.join()


def test_what_has_arrived_is_read_although_the_time_is_over(ends):
    ours, theirs = ends
    protocol.send(theirs, {"n": 1})
    assert protocol.receive_before(protocol.Deadline(0), ours, 1000)[0] == {"n": 1}
    with pytest.raises(TimeoutError):
        protocol.receive_before(protocol.Deadline(0), ours, 1000)


def test_who_sends_without_a_pause_is_not_read_for_ever(ends, much_time_passes):
    ours, theirs = ends
    theirs.sendall(struct.pack("!I", 1000) + b" " * 100)
    deadline = protocol.Deadline(0)
    deadline.waited = protocol.MAX_LATE
    with pytest.raises(TimeoutError):
        protocol.receive_before(deadline, ours, 1000)


def test_who_does_not_read_is_not_waited_for_without_end(ends):
    ours, _ = ends
    with pytest.raises(TimeoutError):
        protocol.send_before(protocol.Deadline(0.1), ours, {"text": "x" * 2**22})


def test_a_long_message_is_sent_in_parts(ends):
    ours, theirs = ends
    message = {"text": "x" * 2**22}
    received = []
    reader = threading.Thread(target=lambda: received.append(protocol.receive(theirs)))
    reader.start()
    protocol.send_before(protocol.Deadline(60), ours, message)
    reader.join()
    assert received == [message]
