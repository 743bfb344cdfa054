"""The organs in files of 3D Slicer and ITK-SNAP: ``python -m evaluation.pictures.label_tables FOLDER``.

The files in ``docs/viewers/`` are made by this. A test sees that they are those of the table of today.
"""

import csv
import io
import sys
from pathlib import Path

from attention_dmfnet.organs import ORGANS, SCHEME, SLICER_CATEGORY

_SNAP_HEADER = """\
################################################
# ITK-SnAP Label Description File
# File format:
# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL
# Fields:
#    IDX:   Zero-based index
#    -R-:   Red color component (0..255)
#    -G-:   Green color component (0..255)
#    -B-:   Blue color component (0..255)
#    -A-:   Label transparency (0.00 .. 1.00)
#    VIS:   Label visibility (0 or 1)
#    IDX:   Label mesh visibility (0 or 1)
#  LABEL:   Label description
################################################
"""

_TERMS = ("Category", "Type", "TypeModifier", "Region", "RegionModifier")


def slicer_colour_table() -> str:
    """3D Slicer's colour table (``.ctbl``), which any version of it opens; a name holds no spaces there."""
    rows = ["0 background 0 0 0 0"]
    rows += [f"{o.number} {o.name.replace(' ', '_')} {o.colour[0]} {o.colour[1]} {o.colour[2]} 255" for o in ORGANS]
    return "\n".join(["# Color table file organs.ctbl", f"# {len(rows)} values", *rows, ""])


def slicer_term_table() -> str:
    """The colour table with SNOMED CT codes (``.csv``) of 3D Slicer 5.8 and newer."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    parts = ("CodingScheme", "CodeValue", "CodeMeaning")
    colours = ("Color_R", "Color_G", "Color_B", "Color_A")
    table.writerow(["LabelValue", "Name", *colours, *(f"{term}_{part}" for term in _TERMS for part in parts)])
    for organ in ORGANS:
        side = ("", "", "") if organ.side is None else (SCHEME, *organ.side)
        terms = (SCHEME, *SLICER_CATEGORY, SCHEME, *organ.type, *side, *[""] * 6)
        table.writerow([organ.number, organ.name, *organ.colour, 255, *terms])
    return text.getvalue()


def itk_snap_labels() -> str:
    """ITK-SNAP's label description file."""
    rows = ['    0     0    0    0        0  0  0    "Clear Label"']
    for organ in ORGANS:
        red, green, blue = organ.colour
        rows.append(f'{organ.number:5d}{red:6d}{green:5d}{blue:5d}        1  1  1    "{organ.name}"')
    return _SNAP_HEADER + "\n".join([*rows, ""])


FILES = {
    "organs.ctbl": slicer_colour_table,
    "organs.csv": slicer_term_table,
    "organs-itk-snap.txt": itk_snap_labels,
}


def main(folder: Path) -> None:
    """Write all three into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in FILES.items():
        (folder / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
