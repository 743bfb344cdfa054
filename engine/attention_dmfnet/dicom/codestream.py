"""How large a compressed image says it is, before a decoder asks for as much memory."""

from __future__ import annotations

from typing import Final

_JPEG_2000: Final = b"\xff\x4f\xff\x51"
_JPEG: Final = b"\xff\xd8"
_FRAME_HEADERS: Final = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
"""JPEG's markers of a frame, and JPEG-LS's (ITU-T T.81, table B.1; T.87, C.1.1): the size is behind them."""


def stated_size(stream: bytes) -> tuple[int, int] | None:
    """Rows and columns that a stream of JPEG, JPEG-LS or JPEG 2000 states; None where it states none.

    Of JPEG 2000, the far edges of its grid (ITU-T T.800, A.5.1), which are the size or more.
    """
    if stream.startswith(_JPEG_2000):
        columns, rows = (int.from_bytes(stream[at : at + 4], "big") for at in (8, 12))
        return rows, columns
    if not stream.startswith(_JPEG):
        return None
    at = len(_JPEG)
    while at + 9 <= len(stream) and stream[at] == 0xFF:
        # before a marker there may be more of its first byte
        if stream[at + 1] == 0xFF:
            at += 1
            continue
        length = int.from_bytes(stream[at + 2 : at + 4], "big")
        if stream[at + 1] in _FRAME_HEADERS:
            rows, columns = (int.from_bytes(stream[at + more : at + more + 2], "big") for more in (5, 7))
            return rows, columns
        at += 2 + length
    return None
