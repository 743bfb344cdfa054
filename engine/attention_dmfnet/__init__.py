"""A CT in, thirteen abdominal organs out, on the CT's own grid.

    import attention_dmfnet as dmf

    segmenter = dmf.load()
    result = segmenter("scan.nii.gz")
    result.save("labels.nii.gz")

Reads the models that come with it and nothing else. Never imports torch, onnx, scipy, monai or numba.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from os import PathLike

    from attention_dmfnet.files.image_io import ImageError
    from attention_dmfnet.geometry import Geometry, GeometryError, Volume
    from attention_dmfnet.model.manifest import ManifestError, Precision
    from attention_dmfnet.model.network import LoadError, RunError
    from attention_dmfnet.model.runtimes import Backend, Device
    from attention_dmfnet.segmenter import Segmentation, Segmenter

__version__ = "0.10.0"

__all__ = [
    "Geometry",
    "GeometryError",
    "ImageError",
    "LoadError",
    "ManifestError",
    "RunError",
    "Segmentation",
    "Segmenter",
    "Volume",
    "load",
]

# Imported when they are asked for: whoever only asks for --help, or for the cases' names, waits for none of them.
_ROOMS = {
    "Geometry": "geometry",
    "GeometryError": "geometry",
    "ImageError": "files.image_io",
    "LoadError": "model.network",
    "ManifestError": "model.manifest",
    "RunError": "model.network",
    "Segmentation": "segmenter",
    "Segmenter": "segmenter",
    "Volume": "geometry",
}


def load(
    *,
    device: Device = "auto",
    backend: Backend = "auto",
    precision: Precision | None = None,
    models: str | PathLike[str] | None = None,
    gpu_memory_mb: int = 2048,
    organs: Iterable[str] | None = None,
    strict: bool = False,
    cache: str | PathLike[str] | None = None,
) -> Segmenter:
    """Start to load the networks, and return what labels scans with them.

    ``device`` is "auto", "cpu" or "cuda"; ``backend`` is "auto", "openvino", "onnxruntime" or "tensorrt"; without a
    ``precision`` ("float32", "bfloat16" or "float16") the fastest one is taken that was proven equal on this
    kind of machine. ``models`` is the folder of ``manifest.json``; without it the models of this release are used.
    ``gpu_memory_mb`` bounds what is taken on the GPU, CUDA's own memory included. In the folder ``cache`` OpenVINO
    keeps what it has compiled, and the next process on this machine starts sooner; it is believed as the models are.

    ``organs`` are the only ones in the results, with the numbers that they always have; None keeps all. They are said
    here and not with each scan: an unknown name is refused before any network loads, and all scans of a run get the
    same organs. ``strict`` refuses scans whose header or values are doubtful instead of noting it.

    Returns while the networks are still loading: the first scan is read meanwhile, and waits for them. Raises
    ``ManifestError`` and ``LoadError`` for what cannot be used; what is wrong with a network's file is raised by the
    first scan, or by ``Segmenter.wait``.
    """
    from pathlib import Path

    from attention_dmfnet.marks import step

    with step("import"):
        from attention_dmfnet.model.loading import default_models, start_loading
        from attention_dmfnet.model.manifest import load_manifest
        from attention_dmfnet.model.wanted_organs import wanted_organs

    folder = default_models() if models is None else Path(models)
    manifest = load_manifest(folder)
    wanted = None if organs is None else wanted_organs(manifest, organs)
    kept = None if cache is None else Path(cache)
    networks = start_loading(folder, manifest, device, backend, precision, gpu_memory_mb, kept)
    # after it has begun: the networks load on their own thread while these modules are being imported
    with step("import"):
        from attention_dmfnet.segmenter import Segmenter

    return Segmenter(manifest, networks, wanted, strict)


if not TYPE_CHECKING:  # who checks types shall see a misspelt name

    def __getattr__(name: str) -> object:
        if name not in _ROOMS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
