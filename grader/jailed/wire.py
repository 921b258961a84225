"""Messages between the jail and the grader: a length of four bytes, then so many bytes of JSON.

What arrives may be forged, so lengths are capped and anything that is not a JSON object is refused.
"""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

MOST_BYTES = 32 * 2**20
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
    """Wait for a message, as long as the socket's own time limit says.

    Raises:
        TimeoutError: the limit is over.
        WireError: the other end closed the connection, or sent something that is no message.
    """
    (length,) = _LENGTH.unpack(_exactly(source, _LENGTH.size))
    if length > MOST_BYTES:
        raise WireError(f"a message of {length:,} bytes is announced")
    try:
        message = json.loads(_exactly(source, length))
    except (ValueError, RecursionError) as error:
        raise WireError(f"not JSON: {type(error).__name__}") from error
    if not isinstance(message, dict):
        raise WireError("not a JSON object")
    return message


def _exactly(source: socket.socket, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        try:
            part = source.recv(min(count - len(parts), 2**20))
        except TimeoutError:
            raise
        except OSError as error:
            raise WireError(f"cannot be read: {error}") from error
        if not part:
            raise WireError("closed")
        parts += part
    return bytes(parts)
