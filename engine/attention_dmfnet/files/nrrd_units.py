"""The unit of length that an NRRD file states (teem.sourceforge.net/nrrd/format.html): ITK does not ask for it."""

import re
from pathlib import Path
from typing import Final

_HEADER_BYTES: Final = 1 << 16
_FIELD = re.compile(rb"^(?:space )?units:\s*(.+?)\s*$", re.MULTILINE | re.IGNORECASE)
_UNITS: Final = {
    "m": 1000.0,
    "meter": 1000.0,
    "metre": 1000.0,
    "cm": 10.0,
    "centimeter": 10.0,
    "centimetre": 10.0,
    "um": 0.001,
    "µm": 0.001,
    "micron": 0.001,
    "micrometer": 0.001,
    "micrometre": 0.001,
}


def nrrd_unit_mm(path: Path) -> tuple[str, float]:
    """The unit of the three axes and its length in mm; ("mm", 1) where none is stated, or none that is known."""
    with path.open("rb") as file:
        head = re.split(rb"\r?\n\r?\n", file.read(_HEADER_BYTES), maxsplit=1)[0]
    field = _FIELD.search(head)
    words = re.findall(r'"([^"]*)"', field.group(1).decode("utf-8", "replace")) if field else []
    units = {word.strip() for word in words if word.strip()}
    if len(units) != 1:
        return "mm", 1.0
    unit = units.pop()
    length = _UNITS.get(unit.lower()) or _UNITS.get(unit.lower().removesuffix("s"))
    return (unit, length) if length else ("mm", 1.0)
