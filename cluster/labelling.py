"""What a worker does: it loads a ``Segmenter`` once, and labels one case after the other as ``predict`` does."""

from __future__ import annotations

import argparse
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from attention_dmfnet import folder
from attention_dmfnet.cli.predict import load_segmenter
from attention_dmfnet.cli.record import hashes_of
from attention_dmfnet.files.cases import Case, InputError, output_of, printable
from attention_dmfnet.folder import CaseReport
from attention_dmfnet.model.loading import default_models
from attention_dmfnet.model.manifest import manifest_sha256
from attention_dmfnet.model.network import NetworkError
from attention_dmfnet.notes import Note
from attention_dmfnet.segmenter import Segmenter

from cluster.errors import ClusterError
from cluster.places import Place
from cluster.remote import Remote, fetched, files_of, named, stand_ins
from cluster.staging import Staging

if TYPE_CHECKING:
    from attention_dmfnet.further_outputs import FileOutput

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Task:
    """One case to label, with what is to be said of it."""

    case: Case | Remote
    note: Note | None = None


@dataclass(frozen=True, slots=True)
class Labelled:
    """What came of a case. ``hashes`` are of the files that were written, by name; the label map has ``output_bytes``.

    ``statistics`` and ``overview`` are for the run's numbers and pages.
    """

    report: CaseReport
    seconds: float
    hashes: Mapping[str, str] = field(default_factory=dict)
    bytes_read: int = 0
    bytes_written: int = 0
    output_bytes: int | None = None
    statistics: Any = None
    overview: Any = None


@dataclass(frozen=True, slots=True)
class Order:
    """What all workers of a run are told: the options of ``predict``, and where scans and outputs are.

    ``manifest_sha256`` tells the models; a worker whose own are others refuses to begin. ``extras`` write the further
    outputs. ``here`` is the coordinator's working folder, which relative paths begin at.
    """

    options: argparse.Namespace
    inputs: Path | Place
    outputs: Path | Place
    manifest_sha256: str
    staging: Path
    staging_bytes: int
    extras: Sequence[FileOutput] = ()
    here: Path = field(default_factory=Path.cwd)

    def make(self) -> Labeller:
        """In the worker's process. Raises ``ClusterError``, ``ManifestError`` and ``NetworkError``."""
        # the process is this worker's alone; a machine without that folder has been given paths from the root
        if self.here.is_dir():
            os.chdir(self.here)
        own = manifest_hash(self.options.models)
        if own != self.manifest_sha256:
            raise ClusterError(
                f"the models in {self.options.models or default_models()} on {os.uname().nodename} are others than the "
                "coordinator's; install the same release on all machines"
            )
        segmenter = load_segmenter(self.options)
        segmenter.wait()
        return Labeller(self, segmenter)


def manifest_hash(models: Path | None) -> str:
    """The SHA-256 of the manifest, which holds those of the networks. Raises ``ClusterError`` if there is none."""
    try:
        return manifest_sha256(models or default_models())
    except OSError as error:
        raise ClusterError(f"cannot read {error.filename}: {error.strerror}; name the folder with --models") from error


class Labeller:
    """A worker's handler. Several threads may call: the networks see one scan at a time."""

    def __init__(self, order: Order, segmenter: Segmenter) -> None:
        self._order, self._segmenter = order, segmenter
        far = isinstance(order.inputs, Place) or isinstance(order.outputs, Place)
        self._staging = Staging(order.staging, order.staging_bytes) if far else None
        runtimes: list[Any] = []
        segmenter.tell_runtime(runtimes.append)
        self.told = (runtimes[0] if runtimes else None, segmenter.manifest)
        """What computes the networks, and the manifest: for the run's record."""

    def __call__(self, task: Task) -> Labelled:
        """Label one case; whatever is wrong with it or its place is in the report."""
        began_s = time.perf_counter()
        try:
            return self._labelled(task, began_s)
        except NetworkError:  # no case can succeed here: this worker is lost, and another one begins
            raise
        except Exception as error:  # whatever it is, no other case and no worker must suffer from it
            why = str(error)
            if not isinstance(error, InputError):
                _log.error("%s failed unexpectedly", task.case.name, exc_info=error)
                why = f"{task.case.name} could not be labelled on {os.uname().nodename}: {_said(error)}"
            report = CaseReport(task.case.name, "failed", self._output(task.case.name), error=why)
            return Labelled(report, time.perf_counter() - began_s)

    def close(self) -> None:
        """Remove what is staged."""
        if self._staging is not None:
            self._staging.close()

    def _labelled(self, task: Task, began_s: float) -> Labelled:
        if self._staging is None:
            assert not isinstance(task.case, Remote)
            assert isinstance(self._order.outputs, Path)
            return self._label(task.case, task.note, self._order.outputs, began_s)
        size = task.case.size if isinstance(task.case, Remote) else 0
        with self._staging.room(size) as room:
            return self._label_staged(task, room, began_s)

    def _label_staged(self, task: Task, room: Path, began_s: float) -> Labelled:
        """Fetch what is far, label it, and store what was made: further outputs first, and the label map last."""
        order, case = self._order, task.case
        names = stand_ins(case, room, order.inputs, order.outputs)
        if isinstance(case, Remote):
            assert isinstance(order.inputs, Place)
            case = fetched(case, order.inputs, room / "in", order.options)
        far = order.outputs if isinstance(order.outputs, Place) else None
        outputs = room / "out" if far is not None else order.outputs
        assert isinstance(outputs, Path)
        outputs.mkdir(exist_ok=True)
        made = self._label(case, task.note, outputs, began_s, names)
        if far is not None and made.report.status == "done":
            last = output_of(case, outputs)
            files = [path for path in outputs.rglob("*") if path.is_file()]
            for path in sorted(files, key=lambda path: path == last):
                far.store(path, path.relative_to(outputs).as_posix())
        return replace(made, report=named(made.report, names), seconds=time.perf_counter() - began_s)

    def _label(
        self,
        case: Case,
        note: Note | None,
        outputs: Path,
        began_s: float,
        names: Mapping[str, str] = MappingProxyType({}),
    ) -> Labelled:
        options = self._order.options
        extras: list[Any] = [*self._order.extras]
        further = [path for extra in self._order.extras for path in extra.paths(case, outputs)]
        gathered = None
        if options.report or options.statistics:
            from attention_dmfnet.cli.run_report import start_report

            from cluster.far_report import showing

            gathered = showing(start_report(options), names)
            extras.append(gathered)
        notes = {} if note is None else {case.name: note}
        (report,) = folder.predict(
            [case], outputs, self._segmenter, None, notes, options.case_timeout, options.strict, extras
        )
        files = [output_of(case, outputs), *further] if report.status == "done" else []
        return Labelled(
            report,
            time.perf_counter() - began_s,
            hashes_of(files),
            _bytes_of(case),
            sum(path.stat().st_size for path in files if path.exists()),
            files[0].stat().st_size if files else None,
            None if gathered is None else gathered.statistics.get(case.name),
            None if gathered is None else gathered.overviews.get(case.name),
        )

    def _output(self, name: str) -> str:
        return f"{self._order.outputs}/{name}.nii.gz"


def _said(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror} ({error.filename})" if error.filename else error.strerror
    return f"{type(error).__name__}: {error}"


def key_of(case: Case | Remote) -> str:
    """What the ledger calls a case: its name, as any reader can have it."""
    return printable(case.name)


def _bytes_of(case: Case) -> int:
    """The size of the scan's files; 0 where that cannot be asked."""
    try:
        return sum(path.stat().st_size for path in files_of(case))
    except OSError:
        return 0
