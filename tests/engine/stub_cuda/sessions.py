"""What the real ``onnxruntime-gpu`` does over the stub libraries, told as JSON. Runs in a process of its own:

python -m tests.engine.stub_cuda.sessions place|folder|unshrunk|choose MODELS
python -m tests.engine.stub_cuda.sessions refuse
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import onnx
import onnxruntime
from attention_dmfnet.geometry import Index
from attention_dmfnet.model import backend_onnxruntime, loading, runtimes
from attention_dmfnet.model.external_data import read_model
from attention_dmfnet.model.manifest import Stage, Variant, load_manifest
from attention_dmfnet.model.network import LoadError, RunError
from attention_dmfnet.model.runtimes import Runtime
from onnx import TensorProto, helper

from tests.engine.tiny import stage

MEMORY_MB = 1152
"""Of the GPU for the fine network, by default: three quarters of 2048 without CUDA's own 512."""

TILES_ZYX: tuple[Index, ...] = (
    (64, 80, 112),
    (96, 96, 128),
    (80, 112, 160),
    (112, 96, 128),
    (64, 128, 176),
    (96, 112, 128),
    (112, 112, 112),
    (80, 96, 176),
    (128, 96, 112),
    (64, 80, 112),
)
"""As the ROIs of a folder ask for: multiples of 16 of at most 1.5 million voxels, the last like the first."""

_MIB_BYTES = 1 << 20


def place(models: Path) -> dict[str, Any]:
    """For each network: how many nodes each provider got, the provider's settings, those asked for, scores' shape."""
    ask = backend_onnxruntime._options

    def record(device: Any, threads: int) -> Any:
        options = ask(device, threads)
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        return options

    found = {}
    for of, variant in _networks(models):
        with mock.patch.object(backend_onnxruntime, "_options", record):
            network = _load(models, of, variant)
        nodes: Counter[str] = Counter()
        for part in network._session.get_provider_graph_assignment_info():
            nodes[part.ep_name] += len(part.get_nodes())
        settings = network._session.get_provider_options()["CUDAExecutionProvider"]
        asked = backend_onnxruntime._cuda_settings(1)
        found[variant.file] = {
            "nodes": nodes,
            "settings": {name: settings.get(name) for name in asked if name != "gpu_mem_limit"},
            "asked": {name: value for name, value in asked.items() if name != "gpu_mem_limit"},
            "limit_mb": int(settings["gpu_mem_limit"]) // _MIB_BYTES,
            "scores": network(np.zeros(of.tile_zyx, np.float32)).shape,
        }
    return found


def folder(models: Path, shrink: bool = True) -> dict[str, Any]:
    """For each fine network: MiB allocated after each tile of ``TILES_ZYX``, the most at any time, and what failed."""
    found = {}
    for of, variant in _networks(models):
        if of.tile_multiple is None:
            continue
        before = _allocated_mib()[0]
        network = _load(models, of, variant)
        if not shrink:
            network._run_options = onnxruntime.RunOptions()
        after, fault = [], ""
        try:
            for tile_zyx in TILES_ZYX:
                network(np.zeros(tile_zyx, np.float32))
                after.append(_allocated_mib()[0] - before)
        except RunError as error:
            fault = str(error)
        found[variant.file] = {"after": after, "most": _allocated_mib()[1] - before, "fault": fault}
        del network
        Path(os.environ["STUB_LOG"]).write_text("")
    return found


def choose(models: Path) -> str:
    """The line about the runtime where the device is left open and ``/dev`` shows a GPU."""
    with mock.patch.object(runtimes, "find_gpu", return_value=True):
        networks = loading.start_loading(models, load_manifest(models), "auto", "auto")
    networks.fine.wait()
    return str(networks.runtime.result())


def refuse() -> dict[str, str]:
    """What is said of a network with an operator that CUDA has no form of, and of a setting that there is not."""
    said = {}
    for name, operator, setting in (("operator", "Tan", {}), ("setting", "Relu", {"gpu_mem_limt": "1"})):
        settings = backend_onnxruntime._cuda_settings(512) | setting
        with mock.patch.object(backend_onnxruntime, "_cuda_settings", return_value=settings):
            try:
                backend_onnxruntime.OnnxRuntimeNetwork(_one_operator(operator), "f.onnx", stage(classes=2), "cuda", 1)
            except LoadError as error:
                said[name] = str(error)
    return said


def _networks(models: Path) -> list[tuple[Stage, Variant]]:
    """Each file once: a variant of another precision may share it."""
    manifest = load_manifest(models)
    by_file = {v.file: (of, v) for of in (manifest.coarse, manifest.fine) for v in of.variants if v.plan is None}
    return list(by_file.values())


def _load(models: Path, of: Stage, variant: Variant) -> Any:
    return backend_onnxruntime.load(
        read_model(models, of, variant), variant, of, Runtime("onnxruntime", "cuda", 1), MEMORY_MB
    )


def _allocated_mib() -> tuple[int, int]:
    """What is allocated on the "GPU" now, and the most at any time, from the stubs' log."""
    sizes: dict[str, int] = {}
    now = most = 0
    for line in Path(os.environ["STUB_LOG"]).read_text().splitlines():
        address = line.split()[0][1:]
        if line[0] == "+":
            sizes[address] = int(line.split()[1])
            now += sizes[address]
            most = max(most, now)
        else:
            now -= sizes.pop(address, 0)
    return now // _MIB_BYTES, most // _MIB_BYTES


def _one_operator(name: str) -> bytes:
    shape = [1, 1, 8, 16, 16]
    graph = helper.make_graph(
        [helper.make_node(name, ["image"], ["scores"])],
        name,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


if __name__ == "__main__":
    what, *where = sys.argv[1:]
    answers: dict[str, Callable[[], Any]] = {
        "place": lambda: place(Path(where[0])),
        "folder": lambda: folder(Path(where[0])),
        "unshrunk": lambda: folder(Path(where[0]), shrink=False),
        "choose": lambda: choose(Path(where[0])),
        "refuse": refuse,
    }
    print(json.dumps(answers[what]()))
