"""The kept form of a network is the same network, and is taken for no other one."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from attention_dmfnet.model import openvino_core
from attention_dmfnet.model.loading import load_network
from attention_dmfnet.model.manifest import Stage, load_manifest
from attention_dmfnet.model.network import LoadError, Scores
from attention_dmfnet.model.openvino_graphs import FOLDER, keep_graphs, kept_graph, main
from attention_dmfnet.model.runtimes import Runtime

from tests.engine.tiny import small_cnn_onnx, stage_json

SHAPES = [(8, 16, 16), (8, 24, 32)]
RUNTIME = Runtime("openvino", "cpu", 1)


@pytest.fixture
def kept(models: Path, tmp_path: Path) -> Path:
    """A folder of models whose fine network has layers and takes tiles of any shape, and the kept form of both."""
    folder = tmp_path / "models"
    shutil.copytree(models, folder)
    _change_fine(folder, seed=0)
    assert main([str(folder)]) == 0
    return folder


def _change_fine(folder: Path, seed: int) -> None:
    content = json.loads((folder / "manifest.json").read_text())
    fine = small_cnn_onnx("zyx", seed=seed)
    old = content["fine"]
    content["fine"] = stage_json("fine.onnx", fine, 14, tuple(old["spacing_zyx"]), SHAPES[0]) | {"tile_multiple": 8}
    (folder / "fine.onnx").write_bytes(fine)
    (folder / "manifest.json").write_text(json.dumps(content))


def _fine(folder: Path) -> Stage:
    return load_manifest(folder).fine


def _scores(folder: Path) -> list[Scores]:
    network = load_network(folder, _fine(folder), RUNTIME)
    random = np.random.default_rng(5)
    return [network(random.normal(size=shape).astype(np.float32)).copy() for shape in SHAPES]


def test_the_kept_form_scores_as_the_onnx_model_does_in_every_shape(kept: Path) -> None:
    found = _scores(kept)
    shutil.rmtree(kept / FOLDER)
    for scores, expected in zip(found, _scores(kept), strict=True):
        np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_where_it_is_kept_the_onnx_model_is_not_read(kept: Path) -> None:
    (kept / "fine.onnx").unlink()
    assert len(_scores(kept)) == len(SHAPES)


def test_of_other_weights_the_onnx_model_is_taken(kept: Path) -> None:
    before = _scores(kept)
    _change_fine(kept, seed=1)
    assert kept_graph(kept, _fine(kept), _fine(kept).variants[0]) is None
    after = _scores(kept)
    assert np.abs(after[0] - before[0]).max() > 0.1


def test_for_another_version_of_openvino_it_is_not_taken(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = _fine(kept)
    assert kept_graph(kept, stage, stage.variants[0]) is not None
    monkeypatch.setattr(openvino_core.half, "get_version", lambda: "2031.0")
    assert kept_graph(kept, stage, stage.variants[0]) is None


def test_without_the_folder_nothing_is_kept(models: Path) -> None:
    assert kept_graph(models, _fine(models), _fine(models).variants[0]) is None


def _flipped(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("file", "tamper", "words"),
    [
        ("fine.onnx.graph", _flipped, r"fine\.onnx\.graph was changed after it was made .*delete that folder"),
        ("fine.onnx.graph", Path.unlink, r"cannot read .*fine\.onnx\.graph: No such file"),
        ("index.json", lambda file: file.write_text("{"), r"index\.json is not valid"),
        ("index.json", lambda file: file.write_text('{"openvino": 1}'), r"index\.json is not valid"),
    ],
)
def test_what_was_changed_is_refused_by_name(
    kept: Path, file: str, tamper: Callable[[Path], object], words: str
) -> None:
    tamper(kept / FOLDER / file)
    with pytest.raises(LoadError, match=words):
        load_network(kept, _fine(kept), RUNTIME)


def test_variants_of_one_file_are_kept_once_and_other_files_not_at_all(kept: Path) -> None:
    manifest = load_manifest(kept)
    fine = manifest.fine.variants[0]
    half = msgspec.structs.replace(fine, precision="bfloat16")
    manifest = msgspec.structs.replace(manifest, fine=msgspec.structs.replace(manifest.fine, variants=(fine, half)))
    names = [path.name for path in keep_graphs(kept, manifest)]
    assert names == ["coarse.onnx.graph", "fine.onnx.graph", "index.json"]


def test_what_was_not_finished_is_not_looked_at(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*given: object) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr("attention_dmfnet.model.openvino_graphs._simplified", stopped)
    with pytest.raises(KeyboardInterrupt):
        keep_graphs(kept, load_manifest(kept))
    assert kept_graph(kept, _fine(kept), _fine(kept).variants[0]) is None
    assert len(_scores(kept)) == len(SHAPES)
