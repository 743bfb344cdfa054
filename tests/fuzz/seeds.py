"""Writes the corpus: small good files of every kind that is read. ``python -m tests.fuzz.seeds`` makes it anew."""

from __future__ import annotations

import copy
import gzip
import hashlib
import json
import struct
from typing import Any

import msgspec
import numpy as np
import onnx
import SimpleITK
import torch
from attention_dmfnet.geometry import CANONICAL_AXES_LPS, Geometry, Volume
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from tests.engine.tiny import manifest_json, small_cnn_onnx
from tests.fuzz.targets import CORPUS, NETWORK_CLASSES, NETWORK_TILE_ZYX
from training.data.dataset import CaseEntry, DatasetIndex, StageGrid, cache_key
from training.data.splits import Splits, write_splits
from training.data.stage_arrays import write_case
from training.learning.checkpoint import Progress, save_checkpoint, save_trained
from training.recipe import load_recipe, write_recipe

sitk: Any = SimpleITK

SHAPE_ZYX = (4, 5, 6)


def main() -> None:
    for write in (_nifti, _itk, _models, _layouts, _prepared, _recipes, _pseudo, _run_folder):
        write()


def _hu() -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    return np.random.default_rng(0).integers(-200, 300, SHAPE_ZYX).astype(np.int16)


def _put(name: str, content: bytes) -> None:
    path = CORPUS / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _nifti() -> None:
    z, y, x = SHAPE_ZYX
    for name, code, kind, forms in (
        ("int16", 4, "<i2", (1, 1)),
        ("uint8", 2, "u1", (1, 0)),
        ("float32", 16, "<f4", (0, 2)),
        ("float64", 64, "<f8", (2, 1)),
        ("no-forms", 512, "<u2", (0, 0)),
    ):
        head = bytearray(352)
        struct.pack_into("<i", head, 0, 348)
        struct.pack_into("<8h", head, 40, 3, x, y, z, 1, 1, 1, 1)
        struct.pack_into("<2h", head, 70, code, 8 * np.dtype(kind).itemsize)
        struct.pack_into("<4f", head, 76, 1, 20, 20, 25)
        struct.pack_into("<3f", head, 108, 352, 1, 0)
        head[123] = 2
        struct.pack_into("<2h", head, 252, *forms)
        struct.pack_into("<18f", head, 256, 0, 0, 0, -50, -40, 10, 20, 0, 0, -50, 0, 20, 0, -40, 0, 0, 25, 10)
        head[344:348] = b"n+1\0"
        _put(f"nifti/{name}.nii", bytes(head) + np.abs(_hu()).clip(0, 255).astype(kind).tobytes())
    for order, name in (("<", "little"), (">", "big")):
        head = bytearray(544)
        struct.pack_into(f"{order}i", head, 0, 540)
        head[4:12] = b"n+2\0\r\n\x1a\n"
        struct.pack_into(f"{order}2h", head, 12, 4, 16)
        struct.pack_into(f"{order}8q", head, 16, 3, x, y, z, 1, 1, 1, 1)
        struct.pack_into(f"{order}4d", head, 104, 1, 20, 20, 25)
        struct.pack_into(f"{order}q2d", head, 168, 544, 1, 0)
        struct.pack_into(f"{order}2i", head, 344, 1, 1)
        struct.pack_into(f"{order}18d", head, 352, 0, 0, 0, -50, -40, 10, 20, 0, 0, -50, 0, 20, 0, -40, 0, 0, 25, 10)
        struct.pack_into(f"{order}i", head, 500, 2)
        _put(f"nifti/version-2-{name}.nii", bytes(head) + _hu().astype(f"{order}i2").tobytes())
    for path in sorted((CORPUS / "nifti").iterdir()):
        if path.stem in ("int16", "float32", "version-2-little"):
            _put(f"nifti-gz/{path.name}.gz", gzip.compress(path.read_bytes(), mtime=0))


def _itk() -> None:
    image: Any = sitk.GetImageFromArray(_hu())
    image.SetSpacing((20, 20, 25))
    image.SetOrigin((-50, -40, 10))
    for folder, extension in (("nrrd", "nrrd"), ("mha", "mha")):
        (CORPUS / folder).mkdir(parents=True, exist_ok=True)
        for packed in (False, True):
            name = CORPUS / folder / f"{'packed' if packed else 'raw'}.{extension}"
            sitk.WriteImage(image, str(name), useCompression=packed)
    raw = (CORPUS / "nrrd" / "raw.nrrd").read_bytes()
    head, voxels = raw.split(b"\n\n", 1)
    numbers = " ".join(map(str, _hu().ravel())).encode()
    _put("nrrd/text.nrrd", head.replace(b"encoding: raw", b"encoding: ascii") + b"\n\n" + numbers + b"\n")
    _put("nrrd/hex.nrrd", head.replace(b"encoding: raw", b"encoding: hex") + b"\n\n" + voxels.hex().encode() + b"\n")
    for folder in ("nrrd", "mha"):
        _put(f"{folder}/elsewhere.raw", _hu().tobytes())
    _put("nrrd/elsewhere.nrrd", head + b"\ndata file: elsewhere.raw\n")
    _put("mha/elsewhere.mha", (CORPUS / "mha" / "raw.mha").read_bytes().split(b"ElementDataFile")[0]
         + b"ElementDataFile = elsewhere.raw\n")  # fmt: skip


def _models() -> None:
    weights = np.arange(2, dtype=np.float32).reshape(2, 1, 1, 1, 1)
    tensor = helper.make_tensor("weights", TensorProto.FLOAT, weights.shape, weights.tobytes(), raw=True)
    packed = json.dumps({"weights": {"dtype": "F32", "shape": [2, 1, 1, 1, 1], "data_offsets": [0, 8]}}).encode()
    start = 8 + len(packed)
    _put("graph/weights.safetensors", len(packed).to_bytes(8, "little") + packed + weights.tobytes())
    external_data_helper.set_external_data(tensor, "weights.safetensors", offset=start, length=8)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "weights"], ["scores"])],
        "graph",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 4, 4, 4])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 2, 4, 4, 4])],
        [tensor],
    )
    model = onnx.helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    _put("graph/graph.onnx", model.SerializeToString())
    _network()
    _put("manifest/manifest.json", json.dumps(manifest_json(), indent=1).encode())


def _network() -> None:
    """A network that both runtimes compute, of what the released ones are made of, its weights in a file apart."""
    model = onnx.load_from_string(small_cnn_onnx(NETWORK_TILE_ZYX, NETWORK_CLASSES))
    head: dict[str, Any] = {}
    numbers = b""
    for tensor in model.graph.initializer:
        raw = numpy_helper.to_array(tensor).tobytes()
        head[tensor.name] = {
            "dtype": "F32",
            "shape": list(tensor.dims),
            "data_offsets": [len(numbers), len(numbers) + len(raw)],
        }
        numbers += raw
    packed = json.dumps(head).encode()
    for tensor in model.graph.initializer:
        start, stop = head[tensor.name]["data_offsets"]
        tensor.ClearField("float_data")
        tensor.raw_data = bytes(stop - start)
        external_data_helper.set_external_data(
            tensor, "weights.safetensors", offset=8 + len(packed) + start, length=stop - start
        )
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
    _put("network/weights.safetensors", len(packed).to_bytes(8, "little") + packed + numbers)
    _put("network/graph.onnx", model.SerializeToString())
    # the kept network that is damaged depends on OpenVINO's version and the CPU: only the damage is told
    _put("damage/none.damage", b"")


def _layouts() -> None:
    for name in ("a", "b"):
        _put(f"flare22/images/{name}_0000.nii.gz", b"")
        _put(f"flare22/labels/{name}.nii.gz", b"")
        _put(f"nnunet/imagesTr/{name}_0000.nii.gz", b"")
        _put(f"nnunet/labelsTr/{name}.nii.gz", b"")
    _put("flare22/labels/a.json", b'{"annotated": ["liver", "RK", 13]}')
    _put("flare22/patients.csv", b"case,patient\na,one\nb_0000.nii.gz,one\n")
    about = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1, "tumour": 2}, "numTraining": 2}
    _put("nnunet/dataset.json", json.dumps(about).encode())


def _prepared() -> None:
    grid = StageGrid((20.0, 20.0, 20.0), (8, 8, 8), (-200.0, 300.0), (10.0, 10.0, 10.0))
    index = DatasetIndex(
        1,
        {"coarse": grid},
        (CaseEntry("a", "one", "images/a.nii.gz", "labels/a.nii.gz", (1, 2), False, 1.0, ("coarse",), "0"),),
    )
    _put("prepared/dataset.json", msgspec.json.encode(index))
    write_splits(Splits(1, 1, 0, {"one": 0}), CORPUS / "prepared" / "splits.json")
    geometry = Geometry(SHAPE_ZYX, (20.0, 20.0, 20.0), (0.0, 0.0, 0.0), CANONICAL_AXES_LPS)
    labels = (np.arange(np.prod(SHAPE_ZYX)).reshape(SHAPE_ZYX) % 7 == 0).astype(np.uint8)
    key = cache_key(index.cases[0], "coarse", grid)
    write_case(CORPUS / "prepared" / "coarse" / "a", key, Volume(_hu(), geometry), Volume(labels, geometry))


def _recipes() -> None:
    _put("recipe/recipe.toml", write_recipe(load_recipe("small", "fine")).encode())


def _pseudo() -> None:
    decision = {"name": "a", "kept": True, "annotated": [1], "weight": 0.9, "dropped": {"spleen": "cut"}, "why": ""}
    teacher = hashlib.sha256(b"").hexdigest()
    _put("pseudo/pseudo.json", json.dumps({"format": 1, "teachers": [teacher], "cases": [decision]}).encode())


def _run_folder() -> None:
    torch.manual_seed(0)
    folder = CORPUS / "run-folder"
    network = torch.nn.Linear(3, 2)
    optimiser = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
    network(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    recipe = load_recipe("small", "fine")
    save_trained(folder, network, recipe)
    save_checkpoint(folder, network, copy.deepcopy(network), optimiser, Progress(step=1), {"bodies": "0"})
    (folder / "recipe.toml").unlink()


if __name__ == "__main__":
    main()
