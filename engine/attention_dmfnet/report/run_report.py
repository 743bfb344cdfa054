"""The numbers and pages of a run: gathered case by case, and written together when the run ends."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final
from urllib.parse import quote

from attention_dmfnet.files.cases import Case, ReportError, printable
from attention_dmfnet.files.whole_file import replacing
from attention_dmfnet.folder import CaseReport
from attention_dmfnet.geometry import Triple, Volume
from attention_dmfnet.notes import Note
from attention_dmfnet.report.statistics import OrganStatistics, measure
from attention_dmfnet.report.tables import write_tables
from attention_dmfnet.segmenter import Segmentation

if TYPE_CHECKING:
    from attention_dmfnet.report.page import IndexRow
    from attention_dmfnet.report.pictures import Section

INDEX_NAME: Final = "report.html"
PAGES: Final = "report"


@dataclass(slots=True)
class RunReport:
    """What is gathered of the cases of a run. ``organs`` are names and labels, in the order of the tables.

    With ``pages`` each case gets a page in ``OUTPUTS/report`` when it is done, and ``finish`` makes the index of them.
    ``tables`` are written then, too. Several threads may add cases.
    """

    organs: Mapping[str, int]
    release: str
    pages: bool = True
    tables: bool = True
    statistics: dict[str, tuple[OrganStatistics, ...]] = field(default_factory=dict)
    overviews: dict[str, Section] = field(default_factory=dict)
    shown: Callable[[Sequence[Note]], Sequence[Note]] = tuple
    """The notes as pages show them."""

    wants_probabilities: ClassVar[bool] = True
    """The networks' scores are asked what they say of each organ before they are let go."""

    def __post_init__(self) -> None:
        """Raises ``ReportError`` where this installation can make no pages, before any work."""
        if self.pages:
            try:
                from attention_dmfnet.report.page import require_viewer
            except ModuleNotFoundError as error:
                raise ReportError(
                    f'the Python package {error.name} is missing: pip install "attention-dmfnet[report]" brings what '
                    "makes pages; --statistics works without"
                ) from error
            require_viewer()

    def write(self, case: Case, ct: Volume, result: Segmentation, outputs: Path) -> None:
        """Measure a case of the run and make its page. Raises ``ReportError`` if that cannot be written."""
        self.add(
            case.name,
            ct,
            result.labels,
            outputs,
            notes=result.notes,
            roi_mm_zyx=result.roi.extent_mm_zyx,
            mean_probabilities=result.mean_probabilities,
        )

    def add(
        self,
        name: str,
        ct: Volume,
        labels: Volume,
        outputs: Path,
        notes: Sequence[Note] = (),
        roi_mm_zyx: Triple | None = None,
        mean_probabilities: Mapping[str, float] | None = None,
    ) -> None:
        """Measure a scan (HU) and the labels on its grid, and make its page.

        Raises ``GeometryError`` if they lie on different grids, and ``ReportError`` if the page cannot be written.
        """
        statistics = measure(ct, labels, self.organs, mean_probabilities or {})
        if self.pages:
            from attention_dmfnet.report.page import case_page

            text, overview = case_page(name, ct, labels, statistics, self.shown(notes), roi_mm_zyx, self.release)
            _write(outputs / PAGES / f"{name}.html", text)
            self.overviews[name] = overview
        self.statistics[name] = statistics

    def finish(self, reports: Sequence[CaseReport], outputs: Path) -> None:
        """Write the tables and, with pages, the index of all ``reports``, by case. Raises ``ReportError``."""
        reports = sorted(reports, key=lambda report: report.case)
        known = {report.case: self.statistics[report.case] for report in reports if report.case in self.statistics}
        try:
            if self.tables:
                write_tables(known, outputs)
        except OSError as error:
            raise _cannot_write(outputs, error) from error
        if self.pages:
            from attention_dmfnet.report.page import index_page

            rows = [self._row(report) for report in reports]
            _write(outputs / INDEX_NAME, index_page(rows, _summary(reports), self.release))

    def _row(self, report: CaseReport) -> IndexRow:
        from attention_dmfnet.report.page import IndexRow
        from attention_dmfnet.report.rows import note_rows, outside, size_mm

        organs = self.statistics.get(report.case, ())
        missing = [organ.organ for organ in organs if not organ.voxels]
        found = len(organs) - len(missing)
        said = f"{found} of {len(organs)}" + (f"; not found: {', '.join(missing)}" if missing else "")
        total_s, roi = report.seconds.get("total"), report.roi_mm
        return IndexRow(
            printable(report.case),
            quote(os.fsencode(f"{PAGES}/{report.case}.html")) if organs else "",
            report.status,
            "" if total_s is None else f"{total_s:.1f}",
            "" if roi is None else size_mm((roi[2], roi[1], roi[0])),
            "" if roi is None else f"{roi[0] * roi[1] * roi[2] / 1e6:.1f}",
            found if organs else "",
            said if organs else "",
            outside(organs),
            ", ".join(organ.organ for organ in organs if organ.cut),
            note_rows(report.notes),
            self.overviews.get(report.case),
            None if report.error is None else printable(report.error),
        )


def _summary(reports: Sequence[CaseReport]) -> str:
    by_state: dict[str, int] = {}
    for report in reports:
        by_state[report.status] = by_state.get(report.status, 0) + 1
    return ", ".join(f"{count} {state}" for state, count in by_state.items()) + "."


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, path.suffix) as partial:
            partial.write_text(text, encoding="utf-8")
    except OSError as error:
        raise _cannot_write(path, error) from error


def _cannot_write(path: Path, error: OSError) -> ReportError:
    return ReportError(f"cannot write the report to {path}: {error.strerror or error}; is there room?")
