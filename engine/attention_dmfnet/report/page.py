"""The HTML of the pages. Each is one file that asks nothing of the network: its policy forbids it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

import jinja2
import numpy as np

from attention_dmfnet.files.cases import ReportError, printable
from attention_dmfnet.geometry import Geometry, Triple, Volume, canonicalise
from attention_dmfnet.notes import Note
from attention_dmfnet.organs import colour_of
from attention_dmfnet.report.pictures import Section, organ_sections, overview
from attention_dmfnet.report.rows import NoteRow, note_rows, organ_row, size_mm
from attention_dmfnet.report.statistics import OrganStatistics, organ_boxes
from attention_dmfnet.report.views import WINDOW_HU, packed_views

_VIEWER: Final = "viewer"
_NIIVUE: Final = "niivue.umd.js"
_LICENCE: Final = "NIIVUE-LICENSE.txt"
_GZIP: Final = 31
_WINDOW_HU: Final = (-160, 240)


@dataclass(frozen=True, slots=True)
class IndexRow:
    """A case in the index. Texts may be empty; ``seconds`` and ``roi_litres`` are also what a sort goes by."""

    case: str
    href: str
    state: str
    seconds: str
    roi: str
    roi_litres: str
    found: int | str
    organs: str
    outside: Sequence[str]
    cut: str
    notes: Sequence[NoteRow]
    overview: Section | None
    error: str | None


def require_viewer() -> None:
    """Raises ``ReportError`` where the viewer was left out of the installation, as in the container."""
    if not (files("attention_dmfnet.report") / _VIEWER / _NIIVUE).is_file():
        raise ReportError(
            "this installation has no viewer for reports (the container leaves it out); make the report afterwards "
            'elsewhere: `pip install "attention-dmfnet[report]"` and `attention-dmfnet report OUTPUTS --scans INPUTS`'
        )


def case_page(
    case: str,
    ct: Volume,
    labels: Volume,
    statistics: Sequence[OrganStatistics],
    notes: Sequence[Note],
    roi_mm_zyx: Triple | None,
    release: str,
) -> tuple[str, Section]:
    """The page of a case, and the picture that stands for it in the index.

    ``ct`` is in HU, ``labels`` lie on its grid, ``statistics`` were made of both.
    """
    ct, labels = canonicalise(ct), canonicalise(labels)
    boxes = organ_boxes(labels.array)
    names = {organ.label: organ.organ for organ in statistics}
    boxes = {label: box for label, box in boxes.items() if label in names}
    sections = organ_sections(ct, labels, boxes, names)
    views = packed_views(ct, labels)
    rows = [organ_row(organ, sections.get(organ.label, ())) for organ in statistics]
    low, high = WINDOW_HU
    script = _text("table.js") + _text("viewer.js")
    text = _template("case.html").render(
        policy=_policy(script, _niivue()[1]),
        style=_text("report.css"),
        script=script,
        case=printable(case),
        grid=f"{_voxels(ct.geometry)}, {_spacing(ct.geometry)} mm",
        view_grid=f"{_spacing(views.grid)} mm",
        roi=None if roi_mm_zyx is None else f"{size_mm(_xyz(roi_mm_zyx))} mm",
        found=sum(row.found for row in rows),
        rows=rows,
        notes=note_rows(notes),
        sources=[(organ.organ, organ.reference_source) for organ in statistics if organ.reference_source],
        low=f"{low:.0f}",
        high=f"{high:.0f}",
        window=_WINDOW_HU,
        version=f"Attention-DMFNet {release}",
        niivue_version=_niivue_version(),
        niivue_licence=_text(_LICENCE),
        facts=_facts(statistics, ct.geometry),
        niivue=_niivue()[0],
        ct=views.ct,
        labels=views.labels,
    )
    return text, overview(ct, labels, boxes, names)


def index_page(rows: Sequence[IndexRow], summary: str, release: str) -> str:
    """The page that lists all cases."""
    script = _text("table.js")
    return _template("index.html").render(
        policy=_policy(script),
        style=_text("report.css"),
        script=script,
        rows=rows,
        summary=summary,
        version=f"Attention-DMFNet {release}",
    )


def _facts(statistics: Sequence[OrganStatistics], grid: Geometry) -> str:
    """What the viewer has to know, as JSON that may stand in HTML."""
    found = [organ for organ in statistics if organ.voxels]
    # the view opens where the largest organ is, else in the scan's middle
    largest = max(found, key=lambda organ: organ.volume_ml, default=None)
    start = None if largest is None else largest.centroid_lps_mm
    z, y, x = ((size - 1) / 2 for size in grid.shape_zyx)
    left, back, up = start or grid.point_lps((z, y, x))
    facts: Mapping[str, Any] = {
        "organs": [{"label": o.label, "name": o.organ, "rgb": colour_of(o.organ)} for o in found],
        # what is white and black at first, and the least and most that the view holds
        "window": _WINDOW_HU,
        "held": WINDOW_HU,
        "start_ras": (-left, -back, up),
    }
    return json.dumps(facts).replace("<", "\\u003c")


def _policy(*scripts: str) -> str:
    """Only these scripts run, only what the page holds is shown, and nothing is fetched or sent."""
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def _text(name: str) -> str:
    return (files("attention_dmfnet.report") / _VIEWER / name).read_text(encoding="utf-8")


@cache
def _niivue() -> tuple[str, str]:
    """NiiVue packed, in base64, and as it is."""
    text = _text(_NIIVUE)
    packer = zlib.compressobj(6, zlib.DEFLATED, _GZIP)
    packed = packer.compress(text.encode()) + packer.flush()
    return base64.b64encode(packed).decode(), text


def _niivue_version() -> str:
    match = re.match(r"NiiVue (\S+)", _text(_LICENCE))
    return match[1] if match else ""


@cache
def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_text), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    return environment.get_template(name)


def _voxels(grid: Geometry) -> str:
    return " × ".join(str(size) for size in reversed(grid.shape_zyx))


def _spacing(grid: Geometry) -> str:
    return " × ".join(f"{np.round(mm, 2):g}" for mm in reversed(grid.spacing_zyx))


def _xyz(triple_zyx: Triple) -> Triple:
    z, y, x = triple_zyx
    return (x, y, z)
