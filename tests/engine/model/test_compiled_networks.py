"""A network is compiled once for all shapes of tiles, kept in a folder for the next process, and never mistaken."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import attention_dmfnet as dmf
import msgspec
import numpy as np
import pytest
from attention_dmfnet.geometry import Index
from attention_dmfnet.model import backend_openvino
from attention_dmfnet.model.backend_openvino import OpenVinoNetwork
from attention_dmfnet.model.network import LoadError
from attention_dmfnet.model.openvino_core import half

from tests.engine.tiny import block_phantom, nearest_class_onnx, small_cnn_onnx, stage

FITTED = msgspec.structs.replace(stage(), tile_multiple=8)
OPEN = small_cnn_onnx(("z", "y", "x"))


def _scores(network: OpenVinoNetwork, tile_zyx: Index) -> Any:
    return network(np.random.default_rng(0).normal(size=tile_zyx).astype(np.float32)).copy()


def test_a_network_is_compiled_once_for_tiles_of_all_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []

    class Counting(half.Core):  # type: ignore[misc]  # openvino ships no type information
        def compile_model(self, model: Any, *settings: Any) -> Any:
            compiled.append(str(model.inputs[0].partial_shape))
            return super().compile_model(model, *settings)

    monkeypatch.setattr(backend_openvino, "core", Counting)
    network = OpenVinoNetwork(OPEN, "fine.onnx", FITTED, "float32", threads=1)
    shapes = [(8, 16, 16), (16, 16, 16), (8, 24, 16)]
    first = {shape: _scores(network, shape) for shape in shapes}
    # another shape in between changes nothing
    for shape in reversed(shapes):
        np.testing.assert_array_equal(_scores(network, shape), first[shape])
    assert compiled == ["[1,1,?,?,?]"]


def test_what_was_compiled_is_kept_in_the_folder_and_scores_the_same(tmp_path: Path) -> None:
    cache = tmp_path / "made" / "here"
    plain = _scores(OpenVinoNetwork(OPEN, "fine.onnx", FITTED, "float32", threads=1), (8, 16, 24))
    for _ in range(2):
        network = OpenVinoNetwork(OPEN, "fine.onnx", FITTED, "float32", threads=1, cache=cache)
        np.testing.assert_allclose(_scores(network, (8, 16, 24)), plain, rtol=1e-5, atol=1e-6)
        assert len(list(cache.glob("*.blob"))) == 1


def test_a_network_of_other_weights_alone_is_not_taken_for_the_one_that_is_kept(tmp_path: Path) -> None:
    tile = (8, 16, 16)
    for centres in ([0.0, 1.0, 5.0], [0.0, 1.0, 5.000001], [0.0, 2.0, 5.0]):
        networks = [
            OpenVinoNetwork(nearest_class_onnx(centres, tile), "f", stage(classes=3), "float32", 1, cache)
            for cache in (None, tmp_path)
        ]
        np.testing.assert_array_equal(*(_scores(network, tile) for network in networks))
    assert len(list(tmp_path.glob("*.blob"))) == 3


def test_two_processes_that_start_together_share_the_folder(models: Path, tmp_path: Path) -> None:
    from attention_dmfnet.files.image_io import read_volume, write_volume

    scan, labels = block_phantom()
    write_volume(scan, tmp_path / "a.nii.gz")
    command = [sys.executable, "-m", "attention_dmfnet", "predict", str(tmp_path / "a.nii.gz")]
    settings = ["--models", str(models), "--cache", str(tmp_path / "cache"), "--device", "cpu"]
    started = [subprocess.Popen([*command, str(tmp_path / f"out{n}"), *settings]) for n in range(2)]
    assert [process.wait() for process in started] == [0, 0]
    for number in range(2):
        np.testing.assert_array_equal(read_volume(tmp_path / f"out{number}" / "a.nii.gz").array, labels.array)
    assert len(list((tmp_path / "cache").glob("*.blob"))) == 2


def test_a_place_that_cannot_be_a_cache_is_said(models: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    segmenter = dmf.load(models=models, device="cpu", cache=tmp_path / "file")
    with segmenter, pytest.raises(LoadError, match=r"cannot keep networks in .*file"):
        segmenter.wait()
