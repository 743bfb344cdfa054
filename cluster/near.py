"""A run as the engine sees it: folders of this machine stand for inputs and outputs at a URL."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from attention_dmfnet.cli.progress import say
from attention_dmfnet.cli.record import RECORD_NAME

from cluster.errors import ClusterError
from cluster.mirror import mirror
from cluster.places import Place


@dataclass(frozen=True)
class Near:
    """Where inputs or outputs are at a URL, ``options`` has folders that stand for them.

    ``sizes`` of the files at the inputs' URL, by name, and ``there`` of those at the outputs'.
    """

    options: argparse.Namespace
    inputs: Path | Place
    outputs: Path | Place
    sizes: Mapping[str, int]
    there: Mapping[str, int]

    def files_of_series(self, uid: str) -> list[Path]:
        """The files of all volumes of a series of DICOM, where the inputs are at a URL."""
        return sorted(path for path, uids in self._uids.items() if uid in uids)

    @functools.cached_property
    def _uids(self) -> dict[Path, set[str]]:
        from attention_dmfnet.dicom.listing import read_series

        found: dict[Path, set[str]] = {}
        for series in read_series(self.options.inputs)[0]:
            for frame in series.frames:
                found.setdefault(frame.header.source.path, set()).add(series.uid)
        return found

    @property
    def names(self) -> dict[str, str]:
        """The places that the folders stand for."""
        pairs = ((self.options.inputs, self.inputs), (self.options.outputs, self.outputs))
        return {str(local): str(place) for local, place in pairs if isinstance(place, Place)}

    def missing(self, outputs: Sequence[Path]) -> list[Path]:
        """Those of ``outputs`` that were not there when the run began."""
        if isinstance(self.outputs, Path):
            return [path for path in outputs if not path.exists()]
        return [path for path in outputs if path.relative_to(self.options.outputs).as_posix() not in self.there]

    def bring_back(self) -> bool:
        """Store at the outputs' URL what the engine wrote of the whole run: its record, tables and index of the pages.

        Says what cannot be stored; returns whether tables and index are where they belong.
        """
        if not isinstance(self.outputs, Place):
            return True
        is_back = True
        for path in sorted(self.options.outputs.glob("[!.]*")):
            is_record = path.name == RECORD_NAME
            # with --no-record it was fetched to be read
            if is_record and self.options.record is False:
                continue
            try:
                self.outputs.store(path, path.name)
            except ClusterError as error:
                what = "record" if is_record else "report"
                say(f"cannot keep the {what}: {error}; the label maps are there", sys.stderr)
                is_back = is_back and is_record
        return is_back


def near_of(options: argparse.Namespace, here: Path) -> Near:
    """The run of ``options``; what stands for a URL is made in the folder ``here``. Raises ``ClusterError``."""
    inputs, outputs = options.inputs, options.outputs
    local = argparse.Namespace(**vars(options))
    if isinstance(outputs, Place) and options.ledger is None:
        raise ClusterError(f"{outputs} is a URL: name a file on a disk of this machine with --ledger")
    sizes: Mapping[str, int] = {}
    if isinstance(inputs, Place):
        local.inputs = here / "inputs"
        sizes = mirror(inputs, local.inputs)
        first = next(iter(sizes))
        if inputs.is_itself(first):
            local.inputs = local.inputs / first
    there: Mapping[str, int] = {}
    if isinstance(outputs, Place):
        local.outputs = here / "outputs"
        local.outputs.mkdir()
        there = outputs.sizes()
        if any(map(outputs.is_itself, there)):
            raise ClusterError(f"{outputs} is a file; choose a folder for outputs")
        # the report shows what it says of cases that were labelled before, also where this run adds nothing to it
        wanted = options.record is None or (options.record is False and (options.report or options.statistics))
        if RECORD_NAME in there and wanted:
            outputs.fetch(RECORD_NAME, local.outputs / RECORD_NAME, there[RECORD_NAME])
    return Near(local, inputs, outputs, sizes, there)
