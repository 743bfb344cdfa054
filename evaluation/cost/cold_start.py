"""The organisers' protocol for one case: it alone is copied in, the system is started, and everything is measured."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from attention_dmfnet.files.cases import case_name, output_path

from evaluation.cost.gpu import Gpu
from evaluation.cost.measured_process import Container, MeasuredProcess
from evaluation.cost.process_tree import TreeCost, TreeSample
from evaluation.cost.sampler import Sample, Sampler
from evaluation.cost.system import MARKS_NAME, System
from evaluation.cost.trace import Trace, read_trace
from evaluation.errors import EvaluationError

TIME_LIMIT_S = 3600.0
"""The organisers give a stuck or failed case 3600 s."""


@dataclass(frozen=True, slots=True)
class CaseRun:
    """One cold start on one case.

    ``start_s`` and ``stop_s`` (``time.perf_counter``) enclose the whole command. ``failure`` is a sentence, or None.
    ``tree`` is None where the processes cannot be seen from here, ``trace`` where the system wrote no step marks.
    """

    case: str
    system: str
    start_s: float
    stop_s: float
    failure: str | None
    samples: tuple[Sample, ...]
    tree: TreeCost | None
    tree_samples: tuple[TreeSample, ...]
    trace: Trace | None

    @property
    def wall_s(self) -> float:
        return self.stop_s - self.start_s


@dataclass(frozen=True, slots=True)
class _Exchange:
    """The folders that the system sees, and a place for a container's id."""

    inputs: Path
    outputs: Path
    id_file: Path


def cold_start(
    system: System, scan: Path, folder: Path, gpu: Gpu | None = None, time_limit_s: float = TIME_LIMIT_S
) -> CaseRun:
    """Run ``system`` on ``scan`` alone, with nothing left of any run before.

    In ``folder`` the label map ends in ``predictions/`` and what the command printed in ``logs/``. A command that
    fails, or writes no label map, or runs for longer than ``time_limit_s``, makes a run with a ``failure``.
    Raises ``EvaluationError`` if the command cannot be started at all.
    """
    case = case_name(scan)
    log = folder / "logs" / f"{case}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    with _exchange(folder.resolve() / "exchange") as exchange:
        shutil.copyfile(scan, exchange.inputs / scan.name)
        with Sampler(gpu) as sampler, _process(system, exchange, log) as process:
            process.wait(time_limit_s)
        failure = _failure(process, time_limit_s, output_path(scan, exchange.outputs))
        trace = read_trace(
            exchange.outputs / MARKS_NAME, f"{case}: {system.name}, cold", process.start_s, process.stop_s
        )
        _keep(exchange.outputs, folder / "predictions")
    return CaseRun(
        case,
        system.name,
        process.start_s,
        process.stop_s,
        failure,
        tuple(sampler.samples),
        process.cost(),
        tuple(process.watcher.samples),
        trace,
    )


@contextlib.contextmanager
def _exchange(folder: Path) -> Iterator[_Exchange]:
    """New, empty folders within ``folder``, which is removed afterwards."""
    exchange = _Exchange(folder / "inputs", folder / "outputs", folder / "container-id")
    # what an interrupted measurement left
    shutil.rmtree(folder, ignore_errors=True)
    try:
        exchange.inputs.mkdir(parents=True)
        exchange.outputs.mkdir()
    except OSError as error:
        raise EvaluationError(
            f"cannot make {error.filename}: {error.strerror}; remove {folder} and try again"
        ) from error
    try:
        yield exchange
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _process(system: System, exchange: _Exchange, log: Path) -> MeasuredProcess:
    container = None
    if system.container_engine is not None:
        letters = "".join(filter(str.isalnum, system.name.lower()))
        container = Container(system.container_engine, f"{letters}{os.getpid()}", exchange.id_file)
    words = system.command(exchange.inputs, exchange.outputs, container.name if container else "", exchange.id_file)
    return MeasuredProcess(words, system.variables(exchange.outputs), log, container)


def _failure(process: MeasuredProcess, time_limit_s: float, output: Path) -> str | None:
    if process.late:
        return f"stopped after {time_limit_s:g} s"
    if process.status:
        return f"exit status {process.status}: {process.last_lines()}"
    return None if output.is_file() else f"no label map named {output.name}"


def _keep(outputs: Path, predictions: Path) -> None:
    predictions.mkdir(parents=True, exist_ok=True)
    for file in outputs.iterdir():
        if file.name != MARKS_NAME and file.is_file():
            file.replace(predictions / file.name)
