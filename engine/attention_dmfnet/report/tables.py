"""``statistics.csv`` and ``statistics.json``: the numbers of all cases, a row for each organ.

docs/report.md has the schema.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from attention_dmfnet.files.cases import printable
from attention_dmfnet.files.whole_file import replacing
from attention_dmfnet.report.statistics import OrganStatistics

SCHEMA_VERSION: Final = 1
CSV_NAME, JSON_NAME = "statistics.csv", "statistics.json"

Statistics = Mapping[str, Sequence[OrganStatistics]]
"""The organs of each case, by its name."""

COLUMNS: Final = (
    "case",
    "organ",
    "label",
    "voxels",
    "volume_ml",
    "hu_mean",
    "hu_std",
    "hu_median",
    "extent_left_right_mm",
    "extent_front_back_mm",
    "extent_foot_head_mm",
    "centroid_lps_x_mm",
    "centroid_lps_y_mm",
    "centroid_lps_z_mm",
    "parts",
    "touches_edge",
    "edges",
    "mean_probability",
    "reference_low_ml",
    "reference_high_ml",
    "against_reference",
    "reference_source",
)
"""Of the CSV; the JSON has the same numbers by the names of ``OrganStatistics``."""


def write_tables(statistics: Statistics, outputs: Path) -> None:
    """Write both tables into ``outputs``, each whole or not at all. Raises ``OSError``."""
    _write(outputs / CSV_NAME, as_csv(statistics))
    _write(outputs / JSON_NAME, as_json(statistics))


def as_csv(statistics: Statistics) -> str:
    """One row for each case and organ; a cell is empty where there is nothing to say."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for case, organs in statistics.items():
        for organ in organs:
            writer.writerow(_row(printable(case), organ))
    return text.getvalue()


def _row(case: str, organ: OrganStatistics) -> list[str | int | float | None]:
    extent: Sequence[float | None] = organ.extent_mm_xyz or (None, None, None)
    centroid: Sequence[float | None] = organ.centroid_lps_mm or (None, None, None)
    reference: Sequence[float | None] = organ.reference_ml or (None, None)
    found = organ.voxels > 0
    return [
        case,
        organ.organ,
        organ.label,
        organ.voxels,
        _rounded(organ.volume_ml, 3),
        _rounded(organ.hu_mean, 2),
        _rounded(organ.hu_std, 2),
        _rounded(organ.hu_median, 2),
        *(_rounded(mm, 2) for mm in extent),
        *(_rounded(mm, 2) for mm in centroid),
        organ.parts,
        ("yes" if organ.cut else "no") if found else None,
        " ".join(organ.edges) or None,
        _rounded(organ.mean_probability, 4),
        *(_rounded(ml, 1) for ml in reference),
        organ.against_reference,
        organ.reference_source,
    ]


def as_json(statistics: Statistics) -> str:
    """One object: ``schema_version``, and ``cases``, each with its ``case`` and ``organs``."""
    cases = [{"case": printable(case), "organs": organs} for case, organs in statistics.items()]
    whole = msgspec.json.encode({"schema_version": SCHEMA_VERSION, "cases": cases})
    return msgspec.json.format(whole, indent=1).decode() + "\n"


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _write(path: Path, text: str) -> None:
    with replacing(path, path.suffix) as partial:
        partial.write_text(text, encoding="utf-8")
