"""``run.json``: what made the label maps of a folder, kept beside them. docs/run-record.md describes each field.

The file is whole at any time, and written anew as cases are done: a run that is killed leaves a record of what it did.
Runs before it in the same folder, and runs beside it, keep their cases.
"""

import contextlib
import fcntl
import hashlib
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Literal, Self

import msgspec

from attention_dmfnet import __version__
from attention_dmfnet.cli.progress import say
from attention_dmfnet.cli.status import DONE, INTERRUPTED, SOME_FAILED, UNUSABLE
from attention_dmfnet.files.cases import InputError, printable
from attention_dmfnet.files.whole_file import replacing

# for their types alone: this module is imported before the networks begin to load, SimpleITK after
if TYPE_CHECKING:
    from attention_dmfnet.folder import CaseReport
    from attention_dmfnet.model.manifest import Manifest
    from attention_dmfnet.model.runtimes import Runtime

RECORD_NAME = "run.json"

_PACKAGES = ("numpy", "SimpleITK", "cc3d", "msgspec", "isal", "openvino", "onnxruntime", "tensorrt", "tensorrt_rtx")
"""Modules that have a say in the labels or in how they are written, where a run imported them."""

_LEAST_SHARE = 100
"""Writing takes at most this part of the time: after each case, or of thousands of cases every few seconds."""

_PATIENCE_S = 1.0
"""Another engine holds the lock for milliseconds; one that was stopped meanwhile is not waited for."""


class ModelFile(msgspec.Struct, frozen=True):
    """A file of a network, and the hash that it was checked against when it was loaded."""

    file: str
    sha256: str


class RuntimeRecord(msgspec.Struct, frozen=True):
    """What computed the networks; ``precisions`` of the coarse and the fine one."""

    backend: str
    device: str
    threads: int
    precisions: list[str]
    why: str


class ModelsRecord(msgspec.Struct, frozen=True):
    """The networks of a run."""

    release: str
    files: list[ModelFile]


class RunRecord(msgspec.Struct):
    """One run of the command. ``ended`` and ``exit_status`` are None while it runs, and stay so if it is killed."""

    id: str
    started: str
    ended: str | None
    exit_status: int | None
    versions: dict[str, str]
    options: dict[str, object]
    runtime: RuntimeRecord | None = None
    models: ModelsRecord | None = None


class NoteRecord(msgspec.Struct, frozen=True):
    """A note, as ``--json`` has it."""

    code: str
    text: str


class CaseRecord(msgspec.Struct, frozen=True):
    """What became of a case, in the run called ``run``; ``output`` is the label map's file, ``sha256`` its hash.

    ``further`` has the other files that were written for it, with their hashes.
    """

    case: str
    run: str
    status: Literal["done", "failed", "skipped"]
    output: str
    sha256: str | None
    further: dict[str, str]
    seconds: dict[str, float]
    roi_mm: tuple[float, float, float] | None
    volumes_ml: dict[str, float]
    notes: list[NoteRecord]
    error: str | None


class Record(msgspec.Struct):
    """The whole file: the runs that made something that is still there, and each case once."""

    schema_version: Literal[1]
    runs: list[RunRecord]
    cases: list[CaseRecord]


class RunRecorder:
    """The record of one run, in the file ``path``; a block that ends it, with the exit status of how it is left."""

    def __init__(
        self,
        path: Path,
        options: Mapping[str, object],
        further: Mapping[str, Sequence[Path]] = MappingProxyType({}),
        tell: Callable[[str], str] = str,
    ) -> None:
        """``further`` are the files that are written for a case beside its label map, by the case's name.

        ``tell`` has the names of places elsewhere for the folders of this machine that stand for them in a sentence.
        Raises ``InputError`` if a file is there that is no record of ours: it is not replaced.
        """
        self._path = path
        self._further = further
        self._tell = tell
        if not path.parent.is_dir():
            raise InputError(f"there is no folder {path.parent} for the record; make it, or name another with --record")
        read_record(path)
        self._run = RunRecord(secrets.token_hex(4), _now(), None, None, {}, {k: _plain(v) for k, v in options.items()})
        self._cases: dict[str, CaseRecord] = {}
        self._written_s = -float("inf")
        self._took_s = 0.0
        self._fault: str | None = None

    def set_runtime(self, runtime: "Runtime", manifest: "Manifest") -> None:
        """Note what computes the networks. Any thread may call."""
        named = {v.file: v.sha256 for stage in (manifest.coarse, manifest.fine) for v in stage.variants}
        files = [ModelFile(file, named[file]) for file in dict.fromkeys(runtime.files)]
        # a TensorRT plan holds its weights itself
        stages = (manifest.coarse, manifest.fine) if runtime.backend != "tensorrt" else ()
        files += [ModelFile(stage.weights.file, stage.weights.sha256) for stage in stages if stage.weights is not None]
        self._run.models = ModelsRecord(manifest.release, files)
        precisions = [str(precision) for precision in runtime.computes]
        why = printable(runtime.why)
        self._run.runtime = RuntimeRecord(runtime.backend, runtime.device, runtime.threads, precisions, why)

    def add(self, report: "CaseReport", hashes: Mapping[str, str] | None = None) -> None:
        """Take in a case, and write the file unless that was done a moment ago. What is no case is left out.

        ``hashes`` has the SHA-256 of its files by name, where another process wrote them; else they are read for it.
        """
        if report.status == "passed over":
            return
        case = _case_record(report, self._run.id, self._further.get(report.case, ()), hashes, self._tell)
        self._cases[case.case] = case
        if time.perf_counter() - self._written_s >= _LEAST_SHARE * self._took_s:
            self._write()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._cases:
            return
        status = SOME_FAILED if any(case.status == "failed" for case in self._cases.values()) else DONE
        if kind is not None:
            status = INTERRUPTED if issubclass(kind, KeyboardInterrupt) else UNUSABLE
        self._run.ended, self._run.exit_status = _now(), status
        self._write()
        if self._fault is not None:
            say(f"{self._tell(self._fault)}; the label maps are complete", sys.stderr)

    def _write(self) -> None:
        """Never fails: label maps count for more than their record."""
        began_s = time.perf_counter()
        self._run.versions = _versions()
        try:
            with _locked(self._path.parent):
                merged = _merged(read_record(self._path), self._run, self._cases)
                content = msgspec.json.format(msgspec.json.encode(merged), indent=1)
                with replacing(self._path, ".json") as partial:
                    partial.write_bytes(content)
            self._fault = None
        except (OSError, MemoryError, InputError) as error:
            self._fault = f"cannot write {self._path}: {_reason(error)}"
        self._written_s = time.perf_counter()
        self._took_s = self._written_s - began_s


def read_record(path: Path) -> Record:
    """The record that is there, or an empty one. Raises ``InputError`` for a file that is none."""
    advice = "name another file with --record, or give --no-record"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Record)
    except FileNotFoundError:
        return Record(1, [], [])
    except NotADirectoryError:
        raise InputError(f"cannot write to {path.parent}: Not a directory; {advice}") from None
    except (OSError, MemoryError) as error:
        raise InputError(f"cannot read {path}: {_reason(error)}; {advice}") from error
    except msgspec.MsgspecError as error:
        raise InputError(f"{path} is there and no record of version 1 ({error}); {advice}") from error


def _merged(there: Record, run: RunRecord, cases: Mapping[str, CaseRecord]) -> Record:
    """``there`` with what this run did. A skipped case keeps the record of when it was made."""
    merged = {case.case: case for case in there.cases}
    for name, case in cases.items():
        if case.status != "skipped" or name not in merged or merged[name].status != "done":
            merged[name] = case
    runs = {one.id: one for one in there.runs} | {run.id: run}
    used = {case.run for case in merged.values()} | {run.id}
    ordered = sorted(merged.values(), key=lambda case: case.case)
    return Record(1, [one for one in runs.values() if one.id in used], ordered)


def _case_record(
    report: "CaseReport",
    run: str,
    further: Sequence[Path],
    known: Mapping[str, str] | None,
    tell: Callable[[str], str],
) -> CaseRecord:
    from attention_dmfnet.cli.case_line import rounded

    told = rounded(report)
    notes = [NoteRecord(note.code, tell(str(note))) for note in told.notes]
    error = None if told.error is None else tell(told.error)
    output = printable(Path(report.output).name)
    # the label map is compressed, half a megabyte, and was written a moment ago: this takes a millisecond
    hashes = dict(known or ()) or hashes_of([Path(report.output), *further] if report.status == "done" else [])
    sha256 = hashes.pop(output, None)
    measured = (told.seconds, told.roi_mm, told.volumes_ml)
    status = "skipped" if report.status == "passed over" else report.status
    return CaseRecord(told.case, run, status, output, sha256, hashes, *measured, notes, error)


def hashes_of(files: Sequence[Path]) -> dict[str, str]:
    """The SHA-256 of those that can be read, by name."""
    found = {}
    for file in files:
        with contextlib.suppress(OSError, MemoryError):
            found[printable(file.name)] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


def _versions() -> dict[str, str]:
    """Of what was imported, and nothing is imported for it: to ask the installed packages takes 50 ms."""
    found = {"attention-dmfnet": __version__, "python": sys.version.partition(" ")[0], "platform": sys.platform}
    for name in _PACKAGES:
        version = getattr(sys.modules.get(name), "__version__", None)
        if isinstance(version, str):
            found[name] = version
    # the engine imports no more of it (``model.openvino_core``)
    half = sys.modules.get("openvino._pyopenvino")
    if half is not None:
        found["openvino"] = half.get_version()
    return found


def _plain(value: object) -> object:
    if isinstance(value, Path | str):
        return printable(str(value))
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float) else printable(str(value))


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else str(error)) or type(error).__name__


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """No other engine writes this folder's record meanwhile, where the disk knows locks."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        until_s = time.perf_counter() + _PATIENCE_S
        while time.perf_counter() < until_s:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.005)
            except OSError:
                break
            else:
                break
        yield
    finally:
        os.close(descriptor)
