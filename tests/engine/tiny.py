"""Small stand-ins: a phantom of blocks whose intensity tells the organ, and real ONNX networks that read it."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
from attention_dmfnet.geometry import CANONICAL_AXES_LPS, Axes, Geometry, Index, Triple, Volume
from attention_dmfnet.model.manifest import Manifest, Plan, Stage, Variant, load_manifest
from attention_dmfnet.model.network import Scores, Tile
from onnx import TensorProto, helper

from evaluation.organs import ORGANS

WINDOW_HU = (-200.0, 600.0)
AIR_HU = -200
STEP_HU = 50
"""Organ n has the intensity ``AIR_HU + n * STEP_HU``; everything else is air."""


def organ_hu(label: int) -> int:
    return AIR_HU + label * STEP_HU


def block_labels(shape_zyx: Index = (20, 24, 28)) -> npt.NDArray[np.uint8]:
    """Thirteen blocks of different sizes, one per organ, in canonical axes; nothing about them is symmetric."""
    labels = np.zeros(shape_zyx, dtype=np.uint8)
    for label in range(1, len(ORGANS) + 1):
        row, column = divmod(label - 1, 4)
        z, y, x = 4 + 3 * row, 5 + row, 4 + 5 * column
        labels[z : z + 3, y : y + 4 + column, x : x + 5] = label
    return labels


def block_phantom(
    shape_zyx: Index = (20, 24, 28), spacing_zyx: Triple = (3.0, 2.0, 2.0), axes_lps: Axes = CANONICAL_AXES_LPS
) -> tuple[Volume, Volume]:
    """An int16 CT of ``block_labels``, and the labels themselves."""
    geometry = Geometry(shape_zyx, spacing_zyx, (-31.0, 17.0, 250.0), axes_lps)
    labels = block_labels(shape_zyx)
    ct = np.where(labels == 0, AIR_HU, AIR_HU + STEP_HU * labels.astype(np.int16)).astype(np.int16)
    return Volume(ct, geometry), Volume(labels, geometry)


def nearest_class_onnx(centres: Sequence[float], tile_zyx: Index) -> bytes:
    """A network whose best class is the one whose centre is nearest to the voxel's intensity.

    -(x - c)^2 orders the classes as 2 c x - c^2 does, which is a convolution of one voxel with a bias.
    """
    classes = len(centres)
    weights = (2 * np.array(centres, dtype=np.float32)).reshape(classes, 1, 1, 1, 1)
    biases = -(np.array(centres, dtype=np.float32) ** 2)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "weights", "biases"], ["scores"])],
        "nearest class",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, *tile_zyx])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, classes, *tile_zyx])],
        [
            helper.make_tensor("weights", TensorProto.FLOAT, weights.shape, weights.ravel().tolist()),
            helper.make_tensor("biases", TensorProto.FLOAT, biases.shape, biases.tolist()),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def stage_json(file: str, content: bytes, classes: int, spacing_zyx: Triple, tile_zyx: Index) -> dict[str, Any]:
    variant = {"file": file, "sha256": hashlib.sha256(content).hexdigest(), "precision": "float32", "parity": None}
    return {
        "variants": [variant],
        "input": {"name": "image", "dtype": "float32", "layout": "NCDHW"},
        "output": {"name": "scores", "classes": classes},
        "spacing_zyx": list(spacing_zyx),
        "tile_zyx": list(tile_zyx),
        "overlap": 0.25,
        "window_hu": list(WINDOW_HU),
        "mean_hu": 0.0,
        "std_hu": 100.0,
    }


def manifest_json(
    coarse: bytes = b"",
    fine: bytes = b"",
    spacings_zyx: tuple[Triple, Triple] = ((6.0, 4.0, 4.0), (3.0, 2.0, 2.0)),
    tiles_zyx: tuple[Index, Index] = ((16, 16, 16), (8, 16, 16)),
    margin_mm: Triple = (6.0, 6.0, 6.0),
) -> dict[str, Any]:
    """A valid manifest, as Python has JSON."""
    return {
        "schema_version": 2,
        "release": "0.0.0",
        "labels": {organ: label for label, organ in enumerate(ORGANS, start=1)},
        "roi_margin_mm": list(margin_mm),
        "components": {organ: {"keep": "largest"} for organ in ORGANS},
        "coarse": stage_json("coarse.onnx", coarse, 2, spacings_zyx[0], tiles_zyx[0]),
        "fine": stage_json("fine.onnx", fine, len(ORGANS) + 1, spacings_zyx[1], tiles_zyx[1]),
    }


def write_models(folder: Path, coarse_sees_hu: int = AIR_HU + 20, **settings: Any) -> Path:
    """Real networks and a manifest for ``block_phantom``, in ``folder``; the settings are ``manifest_json``'s.

    The coarse network takes what is brighter than ``coarse_sees_hu`` for an organ.
    """
    shape = manifest_json(**settings)
    # as normalised intensities, with the mean and standard deviation of `stage_json`
    organs = [organ_hu(label) / 100 for label in range(len(ORGANS) + 1)]
    # the coarse grid averages air into the organs, so that anything brighter than half of the first organ counts
    coarse = nearest_class_onnx(
        [organs[0], organs[0] + (coarse_sees_hu - AIR_HU) / 50], tuple(shape["coarse"]["tile_zyx"])
    )
    fine = nearest_class_onnx(organs, tuple(shape["fine"]["tile_zyx"]))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "coarse.onnx").write_bytes(coarse)
    (folder / "fine.onnx").write_bytes(fine)
    (folder / "manifest.json").write_text(json.dumps(manifest_json(coarse, fine, **settings)))
    return folder


def small_cnn_onnx(tile_zyx: Sequence[int | str], classes: int = 14, seed: int = 0) -> bytes:
    """A network with what a real one has: padded and strided convolutions, ReLU, a trilinear upsampling.

    A side of ``tile_zyx`` that is a name is left open.
    """
    random = np.random.default_rng(seed)
    shapes = {"stem": (8, 1, 3, 3, 3), "mix": (8, 4, 3, 3, 3), "head": (classes, 8, 1, 1, 1)}
    weights = {name: random.normal(size=shape).astype(np.float32) / 4 for name, shape in shapes.items()}
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "stem"], ["half"], pads=[1] * 6, strides=[2] * 3),
            helper.make_node("Relu", ["half"], ["positive"]),
            helper.make_node("Conv", ["positive", "mix"], ["mixed"], pads=[2] * 6, dilations=[2] * 3, group=2),
            helper.make_node("Conv", ["mixed", "head"], ["low"]),
            helper.make_node("Resize", ["low", "", "scales"], ["scores"], mode="linear"),
        ],
        "small cnn",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, *tile_zyx])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, classes, *tile_zyx])],
        [
            *(helper.make_tensor(n, TensorProto.FLOAT, w.shape, w.ravel().tolist()) for n, w in weights.items()),
            helper.make_tensor("scales", TensorProto.FLOAT, [5], [1.0, 1.0, 2.0, 2.0, 2.0]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


@dataclass(frozen=True)
class FakeNetwork:
    """A network that is a function of a tile, of any shape."""

    function: Callable[[Tile], Scores]

    def __call__(self, tile: Tile) -> Scores:
        return self.function(tile)


def stage(file: str = "fine.onnx", content: bytes = b"", classes: int = 14, tile_zyx: Index = (8, 16, 16)) -> Stage:
    """A stage of the manifest for ``content``."""
    return msgspec.convert(stage_json(file, content, classes, (3.0, 2.0, 2.0), tile_zyx), Stage)


def with_plans(models: Path) -> Manifest:
    """The manifest of ``models`` with a TensorRT plan (of no meaning) for each stage, before its ONNX model."""
    manifest = load_manifest(models)
    stages = {}
    for name in ("coarse", "fine"):
        whole: Stage = getattr(manifest, name)
        content = name.encode()
        (models / f"{name}.plan").write_bytes(content)
        origin = Plan("tensorrt", "11.4.0", "Quadro RTX 5000", "7.5", "none", whole.variants[0].sha256)
        variant = Variant(f"{name}.plan", hashlib.sha256(content).hexdigest(), "float32", None, origin)
        stages[name] = msgspec.structs.replace(whole, variants=(variant, *whole.variants))
    return msgspec.structs.replace(manifest, **stages)
