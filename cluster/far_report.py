"""Numbers and pages of cases whose scan or label map is at a URL. Imported where they are asked for, and not before."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from attention_dmfnet.cli.run_report import Earlier
from attention_dmfnet.files.cases import Case, output_of
from attention_dmfnet.folder import CaseReport
from attention_dmfnet.report.run_report import PAGES, RunReport

from cluster.errors import ClusterError
from cluster.near import Near
from cluster.places import Place
from cluster.remote import Remote, fetched, named, stand_ins, told_notes
from cluster.staging import Staging


def showing(report: RunReport, places: Mapping[str, str]) -> RunReport:
    """``report``, with the same numbers and overviews; its pages name the ``places`` that folders here stand for."""
    return replace(report, shown=lambda notes: told_notes(notes, places))


class Measuring:
    """Cases that were labelled before are fetched one after the other, measured, and let go."""

    def __init__(self, options: argparse.Namespace, near: Near, earlier: Earlier) -> None:
        """``options`` are those of the command."""
        self._options, self._near, self._earlier = options, near, earlier
        self._staging = Staging(options.staging, options.staging_mb << 20)

    def close(self) -> None:
        """Remove what is staged."""
        self._staging.close()

    def add(self, case: Case | Remote, said: CaseReport) -> CaseReport:
        """Add such a case to the report: ``said``, or why its scan and label map cannot be measured."""
        try:
            with self._staging.room(case.size if isinstance(case, Remote) else 0) as room:
                became = self._measured(case, room)
        except (ClusterError, OSError) as error:
            became = CaseReport(case.name, "failed", said.output, error=str(error))
        if became.status != "failed":
            return said
        for gathered in (self._earlier.report.statistics, self._earlier.report.overviews):
            gathered.pop(case.name, None)
        return became

    def _measured(self, case: Case | Remote, room: Path) -> CaseReport:
        near, outputs = self._near, room / "out"
        names = stand_ins(case, room, near.inputs, near.outputs)
        if isinstance(case, Remote):
            assert isinstance(near.inputs, Place)
            case = fetched(case, near.inputs, room / "in", self._options)
        if isinstance(near.outputs, Path):
            outputs = near.outputs
        else:
            label_map = output_of(case, outputs)
            near.outputs.fetch(label_map.name, label_map, near.there.get(label_map.name))
        became = self._earlier.measured(case, outputs, showing(self._earlier.report, names))
        page = outputs / PAGES / f"{case.name}.html"
        if isinstance(near.outputs, Place) and page.exists():
            near.outputs.store(page, f"{PAGES}/{page.name}")
        return named(became, names)
