"""The same answer every time: threads, repetition, the order of a folder and reading ahead change no voxel."""

import random
import shutil
from pathlib import Path

import attention_dmfnet as dmf
import numpy as np
import numpy.typing as npt
import pytest
from attention_dmfnet.files.cases import ScanFile
from attention_dmfnet.files.image_io import read_volume, write_volume
from attention_dmfnet.folder import predict
from attention_dmfnet.geometry import Volume
from attention_dmfnet.model.loading import load_network
from attention_dmfnet.model.manifest import load_manifest
from attention_dmfnet.model.network import Network
from attention_dmfnet.model.runtimes import Runtime
from attention_dmfnet.segmenter import segment
from attention_dmfnet.steps.stage import StageModel

from evaluation.phantom import make_phantom, phantom_geometry
from tests.engine.tiny import block_phantom, small_cnn_onnx, stage

BACKENDS = ["openvino", "onnxruntime"]
RELEASE = Path(__file__).parents[2] / "models"


def _noisy(seed: int) -> Volume:
    """A phantom whose noise crosses the borders between organs: nearly equal scores, the hardest to repeat."""
    ct, _ = block_phantom((24, 40, 44))
    noise = np.random.default_rng(seed).normal(scale=25, size=ct.array.shape)
    return Volume((ct.array + noise).astype(np.int16), ct.geometry)


def _labels(ct: Volume, models: Path, backend: str, threads: int) -> npt.NDArray[np.uint8]:
    manifest = load_manifest(models)
    runtime = Runtime(backend, "cpu", threads)  # type: ignore[arg-type]
    coarse = StageModel(manifest.coarse, load_network(models, manifest.coarse, runtime))
    fine = StageModel(manifest.fine, load_network(models, manifest.fine, runtime))
    labels: npt.NDArray[np.uint8] = segment(ct, coarse, fine, manifest).labels.array
    return labels


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_two_and_four_threads_label_every_voxel_alike(backend: str, models: Path) -> None:
    ct = _noisy(0)
    one = _labels(ct, models, backend, 1)
    assert len(np.unique(one)) > 10
    for threads in (2, 4):
        np.testing.assert_array_equal(_labels(ct, models, backend, threads), one)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_network_with_convolutions_gives_the_same_scores_twenty_times_and_with_any_threads(
    backend: str, tmp_path: Path
) -> None:
    (tmp_path / "fine.onnx").write_bytes(content := small_cnn_onnx((16, 32, 32)))
    tile = np.random.default_rng(1).normal(size=(16, 32, 32)).astype(np.float32)
    networks: list[Network] = [
        load_network(tmp_path, stage(content=content, tile_zyx=(16, 32, 32)), Runtime(backend, "cpu", threads))  # type: ignore[arg-type]
        for threads in (1, 2, 4)
    ]
    first = networks[0](tile).copy()
    for network in networks:
        for _ in range(20):
            np.testing.assert_array_equal(network(tile), first)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_order_of_a_folder_and_reading_ahead_change_nothing(backend: str, tmp_path: Path, models: Path) -> None:
    scans = []
    for seed in range(4):
        scans.append(tmp_path / f"{seed}.nii.gz")
        write_volume(_noisy(seed), scans[-1])
    with dmf.load(models=models, device="cpu", backend=backend) as segmenter:  # type: ignore[arg-type]
        alone = {scan.name: segmenter(scan).labels.array for scan in scans}
        for order in (scans, scans[::-1], random.Random(0).sample(scans, 4)):
            shutil.rmtree(tmp_path / "out", ignore_errors=True)
            (tmp_path / "out").mkdir()
            reports = predict(list(map(ScanFile, order)), tmp_path / "out", segmenter)
            assert {report.status for report in reports} == {"done"}
            for scan in scans:
                np.testing.assert_array_equal(read_volume(tmp_path / "out" / scan.name).array, alone[scan.name])
    assert len({labels.tobytes() for labels in alone.values()}) == 4


@pytest.mark.skipif(not (RELEASE / "manifest.json").exists(), reason="no models in this clone")
def test_the_released_networks_label_a_small_phantom_alike_with_one_two_and_four_threads() -> None:
    ct, _ = make_phantom(phantom_geometry((40, 80, 80), (8.0, 4.8, 4.8)), seed=0)
    one = _labels(ct, RELEASE, "openvino", 1)
    assert len(np.unique(one)) > 2
    for threads in (1, 2, 4):
        np.testing.assert_array_equal(_labels(ct, RELEASE, "openvino", threads), one)
