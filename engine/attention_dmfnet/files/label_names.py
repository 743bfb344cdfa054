"""The organs' names and colours within a NIfTI file, in the words that TotalSegmentator's label maps have too.

NIfTI lets text stand between header and voxels (nifti1.h, "header extension"), and readers that do not know it pass
over it. The XML is that of Caret's label tables. It stands as a comment (code 6), not under Caret's own code: nibabel
5.3 and newer refuse to hand that one out.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

from attention_dmfnet.organs import colour_of

_COMMENT: Final = 6
_PIECE_BYTES: Final = 16
"""An extension is a multiple of this long."""


def label_names(organs: Mapping[str, int]) -> bytes:
    """An extension that says which label is which of ``organs`` (name to number); nothing if there are none."""
    if not organs:
        return b""
    rows = (
        f'<Label Key="{number}" Red="{_share(red)}" Green="{_share(green)}" Blue="{_share(blue)}" Alpha="1">'
        f"{_escaped(name)}</Label>"
        for name, number in organs.items()
        for red, green, blue in (colour_of(name),)
    )
    table = "\n".join(["<LabelTable>", *rows, "</LabelTable>"])
    text = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<CaretExtension>\n<VolumeInformation Index="0">\n{table}\n'
        "<VolumeType>Label</VolumeType>\n</VolumeInformation>\n</CaretExtension>\n"
    ).encode()
    length = 8 + len(text)
    padded = length + -length % _PIECE_BYTES
    return struct.pack("<2i", padded, _COMMENT) + text + b"\0" * (padded - length)


def _share(part: int) -> str:
    return f"{part / 255:.4f}"


def _escaped(name: str) -> str:
    return name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
