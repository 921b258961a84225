"""Messages between the jail and the grader: a length of four bytes, then so many bytes of JSON.

What arrives may be forged, so lengths are capped and anything that is not a JSON object is refused.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import time
from typing import Any

MOST_BYTES = 32 * 2**20
MOST_VALUES = 2_000_000  # in a text of JSON: in memory, an empty list is twenty times as large
_LENGTH = struct.Struct("!I")


class WireError(Exception):
    """The other end closed the connection, or sent something that is no message."""


def pack(message: dict[str, Any]) -> bytes:
    """A message as it goes over the wire.

    Raises:
        WireError: it is too long.
    """
    body = json.dumps(message, separators=(",", ":")).encode()
    if len(body) > MOST_BYTES:
        raise WireError(f"a message of {len(body):,} bytes")
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
        raise WireError(f"cannot be sent: {error}") from error


def receive(source: socket.socket) -> dict[str, Any]:
    """Wait for a message, in all as long as the socket's own time limit says, however slowly it trickles in.

    Raises:
        TimeoutError: the limit is over.
        WireError: the other end closed the connection, or sent something that is no message.
    """
    limit = source.gettimeout()
    deadline = None if limit is None else time.monotonic() + limit
    try:
        return _receive(source, deadline)
    finally:
        source.settimeout(limit)


def _receive(source: socket.socket, deadline: float | None) -> dict[str, Any]:
    (length,) = _LENGTH.unpack(_exactly(source, _LENGTH.size, deadline))
    if length > MOST_BYTES:
        raise WireError(f"a message of {length:,} bytes is announced")
    try:
        message = parse(_exactly(source, length, deadline).decode())
    except (ValueError, RecursionError) as error:
        raise WireError(f"not JSON: {type(error).__name__}") from error
    if not isinstance(message, dict):
        raise WireError("not a JSON object")
    return message


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
    if sum(map(text.count, signs)) > MOST_VALUES:
        raise ValueError(f"it has more than {MOST_VALUES:,} values")


def _exactly(source: socket.socket, count: int, deadline: float | None) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        try:
            if deadline is not None:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                source.settimeout(left)
            part = source.recv(min(count - len(parts), 2**20))
        except TimeoutError:
            raise
        except OSError as error:
            raise WireError(f"cannot be read: {error}") from error
        if not part:
            raise WireError("closed")
        parts += part
    return bytes(parts)
