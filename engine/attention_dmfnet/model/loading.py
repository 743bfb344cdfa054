"""The two networks, loaded into a runtime while other work goes on."""

import atexit
import contextlib
import importlib
import weakref
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from attention_dmfnet.marks import Step, recording, step
from attention_dmfnet.model.manifest import DeviceName, Manifest, Precision, Stage, Variant
from attention_dmfnet.model.network import Content, LoadError, Network, NetworkError, Scores, Tile
from attention_dmfnet.model.runtimes import GPU_MEMORY_MB, Backend, Device, Runtime, runtimes_to_try
from attention_dmfnet.model.variants import choose_variant
from attention_dmfnet.threads import fulfil, run_aside

# What CUDA itself takes of the device before anything is loaded; an allowance, it differs between GPUs and drivers.
_CUDA_CONTEXT_MB = 512
# Of the memory for networks. The fine one has the larger tile and seven times the classes.
_COARSE_SHARE, _FINE_SHARE = 0.25, 0.75
_SMALLEST_GPU_MEMORY_MB = 2 * _CUDA_CONTEXT_MB


def default_models() -> Path:
    """The folder of models that came with this code: in an installed package its own, in a clone the one at its top."""
    package = Path(__file__).resolve().parents[1]
    return package / "models" if (package / "models").is_dir() else package.parents[1] / "models"


class BackendModule(Protocol):
    """What each ``backend_*.py`` offers."""

    def precisions(self, device: DeviceName) -> tuple[Collection[Precision], Collection[Precision]]:
        """What can be computed on ``device`` of this machine, and in which of these it is fast."""

    def read(self, models: Path, stage: Stage, variant: Variant) -> Content:
        """What ``load`` takes as ``variant``: an ONNX model, a plan, or a form of its own. Raises ``LoadError``."""

    def load(self, model: Content, variant: Variant, stage: Stage, runtime: Runtime, memory_mb: int) -> Network:
        """The network of ``variant``, from what ``read`` gave; ``memory_mb`` are a GPU's. Raises ``LoadError``."""


def backend_module(runtime: Runtime) -> BackendModule:
    # imported here: an image needs only one of them, and start-up waits for every import
    module: Any = importlib.import_module(f"attention_dmfnet.model.backend_{runtime.backend}")
    backend: BackendModule = module
    return backend


def choose_for(stage: Stage, runtime: Runtime) -> Variant:
    """The variant of a stage that ``runtime`` would use on this machine. Raises ``LoadError``."""
    possible, native = backend_module(runtime).precisions(runtime.device)
    return choose_variant(stage, runtime.backend, runtime.device, possible, native, runtime.precision)


def load_network(
    models: Path, stage: Stage, runtime: Runtime, gpu_share: float = 1.0, model: Content | None = None
) -> Network:
    """Load a stage's network into ``runtime``, within ``gpu_share`` of its GPU memory. Raises ``LoadError``.

    ``model`` is the content of the variant that ``choose_for`` names, where it was read already.
    """
    with step("import"):
        variant = choose_for(stage, runtime)
    if model is None:
        with step("read"):
            model = backend_module(runtime).read(models, stage, variant)
    memory_mb = int((runtime.gpu_memory_mb - _CUDA_CONTEXT_MB) * gpu_share)
    with step("compile"):
        return backend_module(runtime).load(model, variant, stage, runtime, memory_mb)


class LoadingNetwork:
    """A network that may still be loading: its first use waits for it, and raises what its loading raised."""

    def __init__(self, network: Future[Network]) -> None:
        self._network = network

    def __call__(self, tile: Tile) -> Scores:
        network = self._network.result()
        with step("network"):
            return network(tile)

    def wait(self) -> None:
        """Return when the network is loaded. Raises ``LoadError`` if it cannot be."""
        self._network.result()


@dataclass(frozen=True, slots=True)
class Networks:
    """Both stages' networks, loading; ``runtime`` and ``steps`` are complete when ``fine`` is.

    ``next_best`` starts to load them into the runtime that is next to try where the choice was left open, if there is
    one; it takes the reason for that. ``again`` starts to load the same networks once more.
    """

    coarse: LoadingNetwork
    fine: LoadingNetwork
    runtime: Future[Runtime]
    steps: list[Step]
    next_best: Callable[[str], "Networks | None"]
    again: Callable[[], "Networks"]


def start_loading(
    models: Path,
    manifest: Manifest,
    device: Device,
    backend: Backend,
    precision: Precision | None = None,
    gpu_memory_mb: int = GPU_MEMORY_MB,
    cache: Path | None = None,
) -> Networks:
    """Load both networks on a thread of their own, the coarse one first, while the first scan is read.

    Where ``device`` or ``backend`` is "auto", a GPU or a plan that does not start is replaced by the next best
    runtime, which says why. Raises ``LoadError`` at once if no runtime fits; other errors come from the networks.
    """
    if gpu_memory_mb < _SMALLEST_GPU_MEMORY_MB:
        raise LoadError(
            f"{gpu_memory_mb} MB of GPU memory are too few, CUDA itself takes about {_CUDA_CONTEXT_MB}; "
            f"give --gpu-memory-mb {_SMALLEST_GPU_MEMORY_MB} or more"
        )
    candidates = [
        replace(candidate, precision=precision, gpu_memory_mb=gpu_memory_mb, cache=cache)
        for candidate in runtimes_to_try(device, backend, _module_of_plans(manifest))
    ]
    return _start_loading(models, manifest, candidates)


def _start_loading(models: Path, manifest: Manifest, candidates: Sequence[Runtime]) -> Networks:
    steps: list[Step] = []
    runtime: Future[Runtime] = Future()
    left = list(candidates)
    fine_model: Content = b""

    def load_coarse() -> Network:
        nonlocal fine_model
        with recording() as marks:
            try:
                network, chosen, fine_model = _load_first(models, manifest, left)
            except BaseException as error:
                runtime.set_exception(error)
                raise
            finally:
                steps.extend(marks)
        runtime.set_result(chosen)
        return network

    def load_fine() -> Network:
        nonlocal fine_model
        with recording() as marks:
            try:
                model, fine_model = fine_model, b""
                with step("load fine"):
                    return load_network(models, manifest.fine, runtime.result(), _FINE_SHARE, model)
            finally:
                steps.extend(marks)

    def next_best(why: str) -> Networks | None:
        others = [replace(candidate, why=why) for candidate in left]
        return _start_loading(models, manifest, others) if others else None

    def again() -> Networks:
        return _start_loading(models, manifest, candidates)

    return Networks(*_in_order(load_coarse, load_fine), runtime, steps, next_best, again)


def _load_first(models: Path, manifest: Manifest, left: list[Runtime]) -> tuple[Network, Runtime, Content]:
    """The coarse network in the first of the runtimes that takes both stages' variants, loads and computes this one.

    With it comes the content of the fine one's file: it is read and checked meanwhile, so that no scan is looked at
    by one network where the other one's file was changed.
    Those that were tried are taken out of ``left``.
    """
    why = ""
    while True:
        candidate = left.pop(0)
        runtime = replace(candidate, why=why or candidate.why)
        try:
            with step("load coarse"):
                with step("import"):
                    variants = [choose_for(stage, runtime) for stage in (manifest.coarse, manifest.fine)]
                fine = run_aside("fine file", _read_fine, models, manifest.fine, variants[1], runtime)
                network = load_network(models, manifest.coarse, runtime, _COARSE_SHARE)
                if runtime.device == "cuda":
                    # a GPU may load what it cannot compute; the first tile takes long anyhow, and here nobody waits
                    network(np.zeros(manifest.coarse.tile_zyx, np.float32))
                model = fine.result()
            chosen = replace(
                runtime, computes=tuple(v.precision for v in variants), files=tuple(v.file for v in variants)
            )
            return network, chosen, model
        except NetworkError as error:
            if not left:
                raise
            why = f"{why}; {error}" if why else str(error)


def _read_fine(models: Path, stage: Stage, variant: Variant, runtime: Runtime) -> Content:
    with step("read fine"):
        return backend_module(runtime).read(models, stage, variant)


def _module_of_plans(manifest: Manifest) -> str | None:
    """The Python module that runs the manifest's plans, if both stages have one."""
    modules = [
        [v.plan.runtime for v in stage.variants if v.plan is not None] for stage in (manifest.coarse, manifest.fine)
    ]
    return modules[1][0] if all(modules) else None


_being_loaded: weakref.WeakSet[Future[Network]] = weakref.WeakSet()
_LONGEST_LOADING_S = 60.0


@atexit.register
def _wait_until_loaded() -> None:
    """A runtime that still compiles while Python takes itself down ends the process with SIGABRT or SIGSEGV."""
    for future in list(_being_loaded):
        with contextlib.suppress(Exception):
            future.exception(_LONGEST_LOADING_S)


def _in_order(*loads: Callable[[], Network]) -> tuple[LoadingNetwork, LoadingNetwork]:
    futures: tuple[Future[Network], Future[Network]] = (Future(), Future())
    _being_loaded.update(futures)

    def load_all() -> None:
        for future, load in zip(futures, loads, strict=True):
            fulfil(future, load)

    run_aside("networks", load_all)
    return LoadingNetwork(futures[0]), LoadingNetwork(futures[1])
