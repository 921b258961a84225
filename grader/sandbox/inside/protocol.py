"""Messages between the sandbox and the grader: a length of four bytes, then so many bytes of JSON.

A message from the sandbox may be forged. So its length is limited, and what is not a JSON object is refused.
"""

from __future__ import annotations

import contextlib
import enum
import json
import re
import select
import socket
import struct
import time
from typing import Any

MAX_BYTES = 32 * 2**20
MAX_VALUES = 2_000_000  # in a text of JSON: in memory, an empty list is twenty times as large
TOO_LARGE = "too large"  # the key of an answer that replaces a larger one; its value is that one's bytes
_LENGTH = struct.Struct("!I")


class Ending(enum.StrEnum):
    """How a worker ended, as the zygote says."""

    BY_ITSELF = "by itself"
    BY_THE_GRADER = "by the grader"
    MEMORY = "too much memory"
    PROCESSES = "too many processes"
    TIME = "too much time of the processor"
    KILLED = "killed"  # from outside of the sandbox, or by the kernel
    NOT_STARTED = "not started"


class ProtocolError(Exception):
    """The other end closed the connection, or sent something that is no message."""


class MessageTooLarge(ProtocolError):
    """A message has too many bytes. It was read and discarded, so the next one can be received.

    Args:
        size: its bytes.
    """

    def __init__(self, size: int) -> None:
        super().__init__(f"a message of {size:,} bytes")
        self.size = size


def pack(message: dict[str, Any]) -> bytes:
    """A message as bytes, to be sent.

    Raises:
        MessageTooLarge: it has more than `MAX_BYTES`.
    """
    body = json.dumps(message, separators=(",", ":")).encode()
    if len(body) > MAX_BYTES:
        raise MessageTooLarge(len(body))
    return _LENGTH.pack(len(body)) + body


def send(to: socket.socket, message: dict[str, Any]) -> None:
    """Send a message.

    Raises:
        MessageTooLarge: it has more than `MAX_BYTES`.
        ProtocolError: the other end is gone.
    """
    packed = pack(message)
    try:
        to.sendall(packed)
    except OSError as error:
        raise ProtocolError(f"cannot be sent: {error}") from error


def send_before(deadline: Deadline, to: socket.socket, message: dict[str, Any]) -> None:
    """`send` to a process that may not read it.

    Raises:
        TimeoutError: the deadline is over.
        MessageTooLarge: as `send`.
        ProtocolError: as `send`.
    """
    left = memoryview(pack(message))
    try:
        while left:
            deadline.wait(to, select.POLLOUT)
            with contextlib.suppress(BlockingIOError):
                left = left[to.send(left, socket.MSG_DONTWAIT) :]
    except TimeoutError:
        raise
    except OSError as error:
        raise ProtocolError(f"cannot be sent: {error}") from error


def receive(source: socket.socket, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Wait for a message: in all as long as the socket's own timeout, however slowly the bytes arrive.

    Args:
        source: connected to the sender.
        max_bytes: of the message.

    Raises:
        TimeoutError: the timeout is over.
        MessageTooLarge: the message has more bytes.
        ProtocolError: the other end closed the connection, or sent something that is no message.
    """
    return receive_before(Deadline(source.gettimeout()), source, max_bytes)[0]


POLL_INTERVAL = 1.0  # seconds
MAX_LATE = 10.0  # seconds after the deadline in which bytes that arrive without a pause are still read


class Deadline:
    """How long to wait for the other end. The time in which this process was stopped itself does not count.

    A process that was stopped, with Ctrl-Z or with the whole machine, continues after all deadlines. It must not
    blame the other end. So it waits in short steps, and a step that took much longer than asked for counts as a short
    one.

    Args:
        seconds: to wait in all; None: no limit.
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self.waited = 0.0

    def wait(self, channel: socket.socket, event: int = select.POLLIN) -> None:
        """Wait until a socket can be read, or written to.

        Bytes that have arrived already are read after the deadline, too, but only for a limited time.

        Args:
            channel: the socket.
            event: `select.POLLIN` or `select.POLLOUT`.

        Raises:
            TimeoutError: the deadline is over.
        """
        poll = select.poll()
        poll.register(channel, event)
        while True:
            left = self._left()
            start = time.monotonic()
            ready = poll.poll(None if left is None else max(0.0, min(POLL_INTERVAL, left)) * 1000)
            self.waited += min(time.monotonic() - start, 2 * POLL_INTERVAL)
            if left is not None and (left <= -MAX_LATE if ready else left <= 0):
                raise TimeoutError("timed out")
            if ready:
                return

    def _left(self) -> float | None:
        return None if self._seconds is None else self._seconds - self.waited


def receive_before(deadline: Deadline, source: socket.socket, max_bytes: int) -> tuple[dict[str, Any], int]:
    """`receive` before a deadline; returns the message and how many bytes it had.

    Raises:
        TimeoutError: the deadline is over.
        MessageTooLarge: as `receive`.
        ProtocolError: as `receive`.
    """
    (length,) = _LENGTH.unpack(_read(source, _LENGTH.size, deadline))
    if length > MAX_BYTES:
        raise ProtocolError(f"a message of {length:,} bytes is announced")
    if length > max_bytes:
        _discard(source, length, deadline)
        raise MessageTooLarge(length)
    try:
        message = parse(_read(source, length, deadline).decode())
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"not JSON: {type(error).__name__}") from error
    if not isinstance(message, dict):
        raise ProtocolError("not a JSON object")
    return message, length


# In a text of JSON: escaped backslashes; a pair of surrogates; a lone surrogate.
_SURROGATES = re.compile(r"\\(?:\\(?:\\\\)*|u[dD][89abAB]\w\w\\u[dD][c-fC-F]\w\w|(u[dD][89a-fA-F]\w\w))", re.ASCII)


def parse(text: str) -> Any:
    """Read JSON that a stranger wrote. A lone surrogate, which no file can hold, becomes a question mark.

    Raises:
        ValueError: it is no JSON, or has more values than a notebook or a message can need.
        RecursionError: it is nested too deeply.
    """
    _refuse_too_many(text, "[", "{", ",")
    if "\\ud" in text or "\\uD" in text:  # only an escape can be a lone surrogate
        _refuse_too_many(text, "\\ud", "\\uD", "\\\\")
        text = _SURROGATES.sub(lambda match: "?" if match[1] else match[0], text)
    return json.loads(text)


def _refuse_too_many(text: str, *signs: str) -> None:
    if sum(map(text.count, signs)) > MAX_VALUES:
        raise ValueError(f"it has more than {MAX_VALUES:,} values")


def _read(source: socket.socket, count: int, deadline: Deadline) -> bytearray:
    parts = bytearray()
    while len(parts) < count:
        parts += _part(source, count - len(parts), deadline)
    return parts


def _discard(source: socket.socket, count: int, deadline: Deadline) -> None:
    while count:
        count -= len(_part(source, count, deadline))


def _part(source: socket.socket, max_bytes: int, deadline: Deadline) -> bytes:
    try:
        deadline.wait(source)
        part = source.recv(min(max_bytes, 2**20))
    except TimeoutError:
        raise
    except OSError as error:
        raise ProtocolError(f"cannot be read: {error}") from error
    if not part:
        raise ProtocolError("closed")
    return part
