"""What ``doctor`` finds out: the machine, the runtimes, the models, and one tile that is really computed."""

import importlib
import importlib.util
import time
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from attention_dmfnet import __version__
from attention_dmfnet.cli.machine import MEASURED_MIB, Cpu, Gpu, Memory, find_cpu, find_memory, find_nvidia
from attention_dmfnet.cli.status import missing_package
from attention_dmfnet.model.loading import backend_module, choose_for, default_models, start_loading
from attention_dmfnet.model.manifest import (
    Manifest,
    ManifestError,
    Precision,
    Stage,
    Variant,
    WeightsFile,
    load_manifest,
)
from attention_dmfnet.model.network import LoadError, NetworkError, read_model_file
from attention_dmfnet.model.runtimes import NAMES, Runtime

if TYPE_CHECKING:
    from attention_dmfnet.model.runtimes import Backend, Device


class RuntimeFound(msgspec.Struct, frozen=True):
    """A Python module that computes networks: its version, or why it cannot be used."""

    name: str
    module: str
    version: str | None
    fault: str | None


class FileFound(msgspec.Struct, frozen=True):
    """A file that the manifest names, with the hash it should have; ``fault`` is None if it has it."""

    file: str
    sha256: str
    fault: str | None


class StageChoice(msgspec.Struct, frozen=True):
    """The variant that computes a stage here, why, and why none of the ``others``."""

    stage: str
    file: str
    precision: str
    why: str
    others: list[str]


class TimedTile(msgspec.Struct, frozen=True):
    """The fine network on one tile, after a first one; ``tested_seconds`` is what the parity test took there."""

    voxels_zyx: tuple[int, int, int]
    seconds: float
    tested_seconds: float | None


class Examination(msgspec.Struct):
    """All of it. ``problem`` is None if a scan can be labelled, otherwise a sentence with what to do."""

    schema_version: int
    version: str
    problem: str | None
    cpu: Cpu
    memory: Memory
    gpu: Gpu | None
    no_gpu: str
    runtimes: list[RuntimeFound]
    models: str
    release: str | None = None
    files: list[FileFound] = []
    stages: list[StageChoice] = []
    runtime: str | None = None
    tile: TimedTile | None = None
    warnings: list[str] = []


def examine(
    models: Path | None,
    device: "Device" = "auto",
    backend: "Backend" = "auto",
    precision: Precision | None = None,
    gpu_memory_mb: int = 2048,
) -> Examination:
    """Look at everything, as far as it goes. The options are those of ``attention_dmfnet.load``. Never raises."""
    gpu = find_nvidia()
    there, missing = (None, gpu) if isinstance(gpu, str) else (gpu, "")
    folder = default_models() if models is None else models
    runtimes = [_runtime(module) for module in NAMES if module != "tensorrt_rtx"]
    found = Examination(1, __version__, None, find_cpu(), find_memory(), there, missing, runtimes, str(folder))
    found.warnings = _memory_warnings(found.memory)
    try:
        manifest = load_manifest(folder)
        found.release = manifest.release
        found.files = _files(folder, manifest)
        networks = start_loading(folder, manifest, device, backend, precision, gpu_memory_mb)
        networks.coarse.wait()
        runtime = networks.runtime.result()
        found.runtime = str(runtime)
        stages = {"coarse": manifest.coarse, "fine": manifest.fine}
        found.stages = [_choice(name, stage, runtime) for name, stage in stages.items()]
        networks.fine.wait()
        tile = np.full(manifest.fine.tile_zyx, manifest.fine.air, np.float32)
        # the first one pays for what every later one uses
        networks.fine(tile)
        began_s = time.perf_counter()
        scores = networks.fine(tile)
        seconds = time.perf_counter() - began_s
        row = _tested(choose_for(manifest.fine, runtime), runtime)
        found.tile = TimedTile(manifest.fine.tile_zyx, round(seconds, 4), row)
        if not np.isfinite(scores).all():
            found.problem = f"{runtime} computes no finite scores; take another --backend or --precision"
    except (ManifestError, NetworkError) as error:
        found.problem = str(error)
    except ModuleNotFoundError as error:
        found.problem = missing_package(error)
    return found


def _runtime(module: str) -> RuntimeFound:
    if importlib.util.find_spec(module) is None:
        return RuntimeFound(NAMES[module], module, None, "is not installed")
    try:
        version = getattr(importlib.import_module(module), "__version__", "of an unknown version")
    except Exception as error:  # whatever a broken installation raises
        return RuntimeFound(NAMES[module], module, None, f"is installed and cannot be imported: {error}")
    return RuntimeFound(NAMES[module], module, str(version), None)


def _files(models: Path, manifest: Manifest) -> list[FileFound]:
    named: dict[str, Variant | WeightsFile] = {}
    for stage in (manifest.coarse, manifest.fine):
        named |= {variant.file: variant for variant in stage.variants}
        if stage.weights is not None:
            named[stage.weights.file] = stage.weights
    found = []
    for file in named.values():
        fault = None
        try:
            read_model_file(models, file)
        except LoadError as error:
            fault = str(error)
        found.append(FileFound(file.file, file.sha256, fault))
    return found


def _memory_warnings(memory: Memory) -> list[str]:
    free = [mib for mib in (memory.available_mib, memory.limit_mib) if mib is not None]
    voxels, most = list(MEASURED_MIB.items())[-1]
    if free and min(free) < most:
        return [f"{min(free)} MiB of memory may be too few: a scan of {voxels} voxels took {most}; allow more"]
    return []


def _choice(name: str, stage: Stage, runtime: Runtime) -> StageChoice:
    chosen = choose_for(stage, runtime)
    native = backend_module(runtime).precisions(runtime.device)[1]
    place = f"{NAMES[runtime.backend]} on the {'GPU' if runtime.device == 'cuda' else 'CPU'}"
    tested = _tested(chosen, runtime)
    if runtime.precision is not None:
        why = "asked for with --precision"
    elif tested is not None and chosen.precision in native:
        why = f"the fastest that passed the parity test in {place} and that this machine has instructions for"
    else:
        why = "full precision, which needs no test"
    others = [
        f"{other.file} in {other.precision}: {_why_not(other, chosen, native, runtime, place)}"
        for other in stage.variants
        if other != chosen
    ]
    return StageChoice(name, chosen.file, chosen.precision, why, others)


def _why_not(other: Variant, chosen: Variant, native: Collection[Precision], runtime: Runtime, place: str) -> str:
    if other.plan is not None and runtime.backend != "tensorrt":
        return f"a TensorRT plan for {other.plan.gpu}"
    if other.plan is None and runtime.backend == "tensorrt":
        return "no TensorRT plan"
    if runtime.precision is not None:
        return "another one was asked for"
    if other.precision not in native:
        return "this machine has no instructions for it"
    seconds, best = _tested(other, runtime), _tested(chosen, runtime)
    if seconds is None:
        return f"not tested in {place}"
    return f"{seconds:.3g} s a tile in the parity test, the one taken {best or 0:.3g}"


def _tested(variant: Variant, runtime: Runtime) -> float | None:
    """Seconds of a tile where the variant passed the parity test in ``runtime``, None if it was not tested there."""
    for row in variant.parity or ():
        if (row.backend, row.device) == (runtime.backend, runtime.device):
            return row.seconds_per_tile
    return None
