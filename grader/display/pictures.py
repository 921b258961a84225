"""How large a student's pictures are: a small file can fill the memory of a browser that shows it.

In: PNG and JPEG files in base64. Out: nothing if a picture may be shown, else an exception.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
from dataclasses import dataclass

from grader.errors import PictureError

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
        pixels: the number of pixels of all pictures that are shown.
    """

    pixels: int = 0

    def add(self, mime: str, content: str) -> None:
        """Count a picture that is to be shown.

        Args:
            mime: ``"image/png"`` or ``"image/jpeg"``.
            content: the picture in base64.

        Raises:
            PictureError: the picture cannot be shown; it is not counted.
        """
        try:
            data = base64.b64decode(content) if _BASE64.fullmatch(content) else b""
            width, height = _size_of_png(data) if mime == "image/png" else _size_of_jpeg(data)
        except (ValueError, binascii.Error, struct.error, IndexError):
            raise PictureError(f"it is not a plain {mime.removeprefix('image/').upper()} file") from None
        if 0 in (width, height):
            raise PictureError("its size is zero")
        pixels = width * height
        if pixels > MAX_PIXELS:
            raise PictureError(f"it has {width:,} × {height:,} pixels, the maximum is {MAX_PIXELS:,} in all")
        if self.pixels + pixels > MAX_NOTEBOOK_PIXELS:
            raise PictureError(f"the pictures of the notebook have more than {MAX_NOTEBOOK_PIXELS:,} pixels together")
        self.pixels += pixels


# A library would read more than the size: also texts and profiles, which can be compressed as strongly as the pixels.
def _size_of_png(data: bytes) -> tuple[int, int]:
    signature, kind, width, height = _PNG.unpack_from(data)
    if signature != _SIGNATURE or kind != b"IHDR":
        raise ValueError("not a PNG file")
    if b"acTL" in data[: data.find(b"IDAT") + 1 or None]:
        raise ValueError("it is animated")
    return width, height


def _size_of_jpeg(data: bytes) -> tuple[int, int]:
    if data[:2] != b"\xff\xd8":
        raise ValueError("not a JPEG file")
    at = 2
    while True:
        if data[at] != 0xFF:
            raise ValueError("not a segment")
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
