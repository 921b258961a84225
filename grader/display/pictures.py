"""How large a picture is that a stranger has made: a small file can fill the memory of a browser that shows it."""

from __future__ import annotations

import base64
import binascii
import re
import struct
from dataclasses import dataclass

MAX_PIXELS = 8_000_000  # of a picture
MAX_NOTEBOOK_PIXELS = 50_000_000

_BASE64 = re.compile(r"[A-Za-z0-9+/=\n]*")
_PNG = struct.Struct(">8s4x4sII")  # signature, length, "IHDR", width, height
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# The segments of a JPEG that hold its size.
_SIZES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}


@dataclass
class Pictures:
    """The pictures of one notebook.

    Attributes:
        pixels: of those that may be shown, together.
    """

    pixels: int = 0

    def problem_with(self, mime: str, content: str) -> str:
        """Why a picture is not shown, in a few words; empty if it is, and then it is counted.

        Args:
            mime: ``"image/png"`` or ``"image/jpeg"``.
            content: the picture in base64.
        """
        try:
            data = base64.b64decode(content) if _BASE64.fullmatch(content) else b""
            size = _size_of_png(data) if mime == "image/png" else _size_of_jpeg(data)
        except (ValueError, binascii.Error, struct.error, IndexError):
            return f"it is no plain {mime.removeprefix('image/').upper()}"
        if 0 in size:
            return "it has no size"
        pixels = size[0] * size[1]
        if pixels > MAX_PIXELS:
            return f"it has {size[0]:,} × {size[1]:,} pixels, {MAX_PIXELS:,} in all are allowed"
        if self.pixels + pixels > MAX_NOTEBOOK_PIXELS:
            return f"the pictures of the notebook have more than {MAX_NOTEBOOK_PIXELS:,} pixels together"
        self.pixels += pixels
        return ""


# A library would read more than the size: also texts and profiles, which can be packed as small as the pixels.
def _size_of_png(data: bytes) -> tuple[int, int]:
    signature, kind, width, height = _PNG.unpack_from(data)
    if signature != _SIGNATURE or kind != b"IHDR":
        raise ValueError("no PNG")
    if b"acTL" in data[: data.find(b"IDAT") + 1 or None]:
        raise ValueError("it is animated")
    return width, height


def _size_of_jpeg(data: bytes) -> tuple[int, int]:
    if data[:2] != b"\xff\xd8":
        raise ValueError("no JPEG")
    at = 2
    while True:
        if data[at] != 0xFF:
            raise ValueError("no segment")
        marker = data[at + 1]
        if marker == 0xFF:  # may be repeated
            at += 1
        elif marker in _WITHOUT_LENGTH:
            at += 2
        elif marker in _SIZES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        else:
            (length,) = struct.unpack_from(">H", data, at + 2)
            at += 2 + max(length, 2)
