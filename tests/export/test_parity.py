"""The comparison itself, on a phantom and networks whose differences can be counted by hand."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from attention_dmfnet.files.image_io import write_volume
from attention_dmfnet.model.loading import load_network
from attention_dmfnet.model.manifest import Manifest, Stage, Variant, load_manifest
from attention_dmfnet.model.network import Network, Scores, Tile
from attention_dmfnet.model.runtimes import Runtime

from export.contenders import Contender, load_contenders
from export.parity import Figures, Original, compare
from tests.engine.tiny import block_labels, block_phantom, write_models

LIVER, SPLEEN = 1, 3


class Altered:
    """A network whose scores for one class are shifted."""

    def __init__(self, network: Network, label: int, by: float) -> None:
        self._network, self._label, self._by = network, label, by

    def __call__(self, tile: Tile) -> Scores:
        scores = self._network(tile).copy()
        scores[self._label] += self._by
        return scores


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return write_models(tmp_path / "models")


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    ct, _ = block_phantom()
    write_volume(ct, tmp_path / "block_0000.nii.gz")
    return tmp_path / "block_0000.nii.gz"


def _original(models: Path, manifest: Manifest) -> Original:
    runtime = Runtime("onnxruntime", "cpu", 1)
    return Original(manifest, *(load_network(models, stage, runtime) for stage in (manifest.coarse, manifest.fine)))


def _contender(network: Network) -> Contender:
    return Contender(Variant("fine.onnx", "0" * 64, "float32", None), Runtime("openvino", "cpu", 1), network)


def test_the_same_network_differs_nowhere(models: Path, scan: Path) -> None:
    original = _original(models, load_manifest(models))
    figures = compare(original, {"coarse": [_contender(original.coarse)], "fine": [_contender(original.fine)]}, [scan])
    for stage in ("coarse", "fine"):
        (one,) = figures[stage]
        assert (one.voxels, one.voxels_differ) == (20 * 24 * 28, 0)
        assert set(one.score_differences) == {0.0}
        assert set(one.dsc.values()) == {1.0}


def test_an_organ_that_is_lost_costs_its_voxels_and_its_dsc_alone(models: Path, scan: Path) -> None:
    original = _original(models, load_manifest(models))
    # the spleen never wins, and one of its neighbours in intensity takes all of its voxels
    without = _contender(Altered(original.fine, SPLEEN, -1000.0))
    (one,) = compare(original, {"coarse": [], "fine": [without]}, [scan])["fine"]
    spleen_voxels = int((block_labels() == SPLEEN).sum())
    assert one.voxels_differ == spleen_voxels
    assert one.dsc["spleen"] == 0
    assert one.dsc["left kidney"] == 1
    assert max(one.score_differences) == pytest.approx(1000)


def test_a_coarse_network_is_judged_by_what_its_roi_does_to_the_labels(models: Path, scan: Path) -> None:
    manifest = load_manifest(models)
    original = _original(models, manifest)
    # organs twice as eager: more foreground, so another ROI, yet every organ is still in it
    eager = _contender(Altered(original.coarse, 1, 0.5))
    # organs nowhere: the whole scan is searched, and everything is found there
    blind = _contender(Altered(original.coarse, 1, -1000.0))
    figures = compare(original, {"coarse": [eager, blind], "fine": []}, [scan])["coarse"]
    assert [min(one.dsc.values()) for one in figures] == [1.0, 1.0]
    # organs in a corner of the scan alone: the others are outside of the ROI and lost
    corner = _contender(_InOneCorner())
    (one,) = compare(original, {"coarse": [corner], "fine": []}, [scan])["coarse"]
    assert one.dsc["left kidney"] == 0


class _InOneCorner:
    def __call__(self, tile: Tile) -> Scores:
        scores = np.zeros((2, *tile.shape), dtype=np.float32)
        # the scan's first voxel: its 10 x 12 x 14 coarse voxels lie in the middle of the 16 x 16 x 16 of the tile
        scores[1, 3, 2, 1] = 1
        return scores


def test_shares_are_of_all_voxels_and_the_lowest_dsc_of_all_scans_counts() -> None:
    figures = Figures(_contender(_InOneCorner()))
    liver = np.zeros((1, 2, 5), dtype=np.uint8)
    liver[0, 0] = LIVER  # 5 voxels
    fewer = liver.copy()
    fewer[0, 0, 0] = 0  # 4 of them
    figures.add_tile(np.zeros((2, 1, 1, 1), np.float32), np.zeros((2, 1, 1, 1), np.float32), 9.0)
    figures.add_tile(np.zeros((2, 1, 1, 1), np.float32), np.full((2, 1, 1, 1), -0.25, np.float32), 3.0)
    figures.add_tile(np.zeros((2, 1, 1, 1), np.float32), np.zeros((2, 1, 1, 1), np.float32), 1.0)
    figures.add_scan(fewer, liver)
    figures.add_scan(liver, liver)
    parity = figures.parity("a CPU", "2 scans")
    assert parity.labels_differ == 1 / 20
    assert parity.dsc["liver"] == pytest.approx(8 / 9, abs=1e-6)
    assert parity.dsc["spleen"] == 1  # nowhere in either
    assert parity.max_score_difference == 0.25
    # the first tile warms up
    assert parity.seconds_per_tile == 2.0


def _ways(contenders: list[Contender]) -> set[tuple[str, str]]:
    return {(contender.runtime.backend, contender.variant.precision) for contender in contenders}


def test_each_variant_is_tried_wherever_this_machine_computes_it(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.contenders.find_gpu", lambda: False)
    fine = load_manifest(models).fine
    monkeypatch.setattr("attention_dmfnet.model.backend_openvino.native_precisions", lambda: ("float32",))
    full = {("openvino", "float32"), ("onnxruntime", "float32")}
    assert _ways(load_contenders(models, fine)) == full
    monkeypatch.setattr("attention_dmfnet.model.backend_openvino.native_precisions", lambda: ("float32", "bfloat16"))
    assert _ways(load_contenders(models, fine)) == full | {("openvino", "bfloat16")}


def test_a_runtime_that_does_not_load_is_left_out_and_named(
    models: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # a GPU in name only
    monkeypatch.setattr("export.contenders.find_gpu", lambda: True)
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    contenders = load_contenders(models, load_manifest(models).fine)
    assert {contender.runtime.device for contender in contenders} == {"cpu"}
    assert "not measured: fine.onnx in onnxruntime: this ONNX Runtime was built without CUDA" in caplog.text


def test_bfloat16_that_the_manifest_has_already_is_not_tried_twice(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export.contenders.find_gpu", lambda: False)
    monkeypatch.setattr("attention_dmfnet.model.backend_openvino.native_precisions", lambda: ("float32", "bfloat16"))
    fine: Stage = load_manifest(models).fine
    both = (fine.variants[0], msgspec.structs.replace(fine.variants[0], precision="bfloat16"))
    contenders = load_contenders(models, msgspec.structs.replace(fine, variants=both))
    ways = [(contender.runtime.backend, contender.variant.precision) for contender in contenders]
    assert len(ways) == len(set(ways)) == 3
