"""Messages between the sandbox and the grader: a length of four bytes, then so many bytes of JSON.

What arrives may be forged, so lengths are capped and anything that is not a JSON object is refused.
"""

from __future__ import annotations

import contextlib
import json
import re
import select
import socket
import struct
import time
from typing import Any

MAX_BYTES = 32 * 2**20
MAX_VALUES = 2_000_000  # in a text of JSON: in memory, an empty list is twenty times as large
TOO_LARGE = "too large"  # the key of an answer that stands for a larger one; with it go that one's bytes
_LENGTH = struct.Struct("!I")


class ProtocolError(Exception):
    """The other end closed the connection, or sent something that is no message."""


class MessageTooLarge(ProtocolError):
    """A message has more bytes than it may; the connection is as good as before.

    Args:
        size: how many it has.
    """

    def __init__(self, size: int) -> None:
        super().__init__(f"a message of {size:,} bytes")
        self.size = size


def pack(message: dict[str, Any]) -> bytes:
    """A message as it goes over the wire.

    Raises:
        TooLarge: it has more than `MAX_BYTES`.
    """
    body = json.dumps(message, separators=(",", ":")).encode()
    if len(body) > MAX_BYTES:
        raise MessageTooLarge(len(body))
    return _LENGTH.pack(len(body)) + body


def send(to: socket.socket, message: dict[str, Any]) -> None:
    """Send a message.

    Raises:
        WireError: it is too long, or the other end is gone.
    """
    send_packed(to, pack(message))


def send_packed(to: socket.socket, packed: bytes) -> None:
    """Send what `pack` made.

    Raises:
        WireError: the other end is gone.
    """
    try:
        to.sendall(packed)
    except OSError as error:
        raise ProtocolError(f"cannot be sent: {error}") from error


def send_patiently(to: socket.socket, message: dict[str, Any], patience: Patience) -> None:
    """`send` to somebody who may not read it.

    Raises:
        TimeoutError: the patience has come to its end.
        WireError: it is too long, or the other end is gone.
    """
    left = memoryview(pack(message))
    try:
        while left:
            patience.wait(to, select.POLLOUT)
            with contextlib.suppress(BlockingIOError):
                left = left[to.send(left, socket.MSG_DONTWAIT) :]
    except TimeoutError:
        raise
    except OSError as error:
        raise ProtocolError(f"cannot be sent: {error}") from error


def receive(source: socket.socket, most: int = MAX_BYTES) -> dict[str, Any]:
    """Wait for a message, in all as long as the socket's own time limit says, however slowly it trickles in.

    Args:
        source: connected to the sender.
        most: bytes of the message.

    Raises:
        TimeoutError: the limit is over.
        TooLarge: the message has more bytes. It was read and thrown away; the next one can be received.
        WireError: the other end closed the connection, or sent something that is no message.
    """
    return receive_patiently(source, Patience(source.gettimeout()), most)[0]


STEP = 1.0  # seconds
MAX_LATE = 10.0  # seconds for which what arrives without a pause is read beyond the limit


class Patience:
    """How long one may still wait. The time in which this process was stopped itself does not count.

    Who is stopped, with Ctrl-Z or because the whole machine is, wakes up after all deadlines; it must not blame the
    other side. So one waits in short steps, and a step that took much longer than asked for counts as a short one.

    Args:
        seconds: to wait in all; None: as long as it takes.
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self.waited = 0.0

    def wait(self, for_what: socket.socket, event: int = select.POLLIN) -> None:
        """Wait until a socket can be read, or written to.

        What is there already is read when the time is over, too, but not without end.

        Args:
            for_what: the socket.
            event: `select.POLLIN` or `select.POLLOUT`.

        Raises:
            TimeoutError: the time is over.
        """
        poll = select.poll()
        poll.register(for_what, event)
        while True:
            left = self._left()
            start = time.monotonic()
            ready = poll.poll(None if left is None else max(0.0, min(STEP, left)) * 1000)
            self.waited += min(time.monotonic() - start, 2 * STEP)
            if left is not None and (left <= -MAX_LATE if ready else left <= 0):
                raise TimeoutError("timed out")
            if ready:
                return

    def _left(self) -> float | None:
        return None if self._seconds is None else self._seconds - self.waited


def receive_patiently(source: socket.socket, patience: Patience, most: int) -> tuple[dict[str, Any], int]:
    """`receive` with a patience of its own; returns the message and how many bytes it had.

    Raises:
        TimeoutError: the patience has come to its end.
        TooLarge: as `receive`.
        WireError: as `receive`.
    """
    (length,) = _LENGTH.unpack(_exactly(source, _LENGTH.size, patience))
    if length > MAX_BYTES:
        raise ProtocolError(f"a message of {length:,} bytes is announced")
    if length > most:
        _throw_away(source, length, patience)
        raise MessageTooLarge(length)
    try:
        message = parse(_exactly(source, length, patience).decode())
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"not JSON: {type(error).__name__}") from error
    if not isinstance(message, dict):
        raise ProtocolError("not a JSON object")
    return message, length


# Backslashes that stand for themselves; both halves of a character; one of them.
_HALVES = re.compile(r"\\(?:\\(?:\\\\)*|u[dD][89abAB]\w\w\\u[dD][c-fC-F]\w\w|(u[dD][89a-fA-F]\w\w))", re.ASCII)


def parse(text: str) -> Any:
    """Read JSON that a stranger has written; half a character, which no file can hold, becomes a question mark.

    Raises:
        ValueError: it is no JSON, or more than a notebook or a message can need.
        RecursionError: it is nested too deeply.
    """
    _refuse_too_many(text, "[", "{", ",")
    if "\\ud" in text or "\\uD" in text:  # only an escape can stand for half a character
        _refuse_too_many(text, "\\ud", "\\uD", "\\\\")
        text = _HALVES.sub(lambda match: "?" if match[1] else match[0], text)
    return json.loads(text)


def _refuse_too_many(text: str, *signs: str) -> None:
    if sum(map(text.count, signs)) > MAX_VALUES:
        raise ValueError(f"it has more than {MAX_VALUES:,} values")


def _exactly(source: socket.socket, count: int, patience: Patience) -> bytearray:
    parts = bytearray()
    while len(parts) < count:
        parts += _part(source, count - len(parts), patience)
    return parts


def _throw_away(source: socket.socket, count: int, patience: Patience) -> None:
    while count:
        count -= len(_part(source, count, patience))


def _part(source: socket.socket, most: int, patience: Patience) -> bytes:
    try:
        patience.wait(source)
        part = source.recv(min(most, 2**20))
    except TimeoutError:
        raise
    except OSError as error:
        raise ProtocolError(f"cannot be read: {error}") from error
    if not part:
        raise ProtocolError("closed")
    return part
