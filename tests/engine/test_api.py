"""What people import: ``load``, a ``Segmenter``, its ``Segmentation``. A change here is a change of the interface."""

import dataclasses
import inspect
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attention_dmfnet as dmf
import numpy as np
import pytest
import SimpleITK
from attention_dmfnet.files.image_io import read_volume, write_volume
from attention_dmfnet.geometry import CANONICAL_AXES_LPS
from attention_dmfnet.model.backend_onnxruntime import OnnxRuntimeNetwork
from attention_dmfnet.model.network import NetworkError
from attention_dmfnet.model.runtimes import Runtime

from tests.engine.tiny import block_phantom, write_models

sitk: Any = SimpleITK

PHANTOM = ["not-an-adult", "upside-down"]
"""What is noted of ``block_phantom``: blocks of a few millilitres, in the order of their labels."""


@pytest.fixture(scope="module")
def segmenter(models: Path) -> Iterator[dmf.Segmenter]:
    with dmf.load(models=models, device="cpu") as loaded:
        yield loaded


def test_the_interface_is_what_the_readme_promises() -> None:
    assert [(name, p.default) for name, p in inspect.signature(dmf.load).parameters.items()] == [
        ("device", "auto"),
        ("backend", "auto"),
        ("precision", None),
        ("models", None),
        ("gpu_memory_mb", 2048),
        ("organs", None),
        ("strict", False),
        ("cache", None),
    ]
    assert all(p.kind is p.KEYWORD_ONLY for p in inspect.signature(dmf.load).parameters.values())
    fields = [field.name for field in dataclasses.fields(dmf.Segmentation)]
    assert fields == ["labels", "volumes_ml", "roi", "notes", "seconds", "mean_probabilities", "organs"]
    assert list(inspect.signature(dmf.Segmentation.save).parameters) == ["self", "path"]
    assert list(inspect.signature(dmf.Segmenter.__call__).parameters) == ["self", "scan"]
    for name in ("Geometry", "GeometryError", "ImageError", "LoadError", "ManifestError", "RunError", "Volume"):
        assert inspect.isclass(getattr(dmf, name))
        assert name in dmf.__all__
    with pytest.raises(AttributeError, match="no attribute 'segment_everything'"):
        _ = dmf.segment_everything  # type: ignore[attr-defined]


def test_importing_costs_nothing_and_changes_nothing(models: Path, tmp_path: Path) -> None:
    write_volume(block_phantom()[0], tmp_path / "a.nii.gz")
    program = f"""
import os, sys
before, modules = dict(os.environ), set(sys.modules)
import attention_dmfnet as dmf
print(sorted({{name.partition(".")[0] for name in set(sys.modules) - modules}} - sys.stdlib_module_names))
segmenter = dmf.load(models={str(models)!r}, device="cpu")
segmenter({str(tmp_path / "a.nii.gz")!r})
import SimpleITK
print(dict(os.environ) == before, SimpleITK.ProcessObject.GetGlobalWarningDisplay())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["['attention_dmfnet']", "True True"]


def test_a_file_a_volume_and_an_image_of_simpleitks_give_the_same(segmenter: dmf.Segmenter, tmp_path: Path) -> None:
    ct, truth = block_phantom()
    path = tmp_path / "a.nii.gz"
    write_volume(ct, path)
    image = sitk.ReadImage(str(path))
    for scan in (path, str(path), ct, image, sitk.Cast(image, sitk.sitkFloat64), sitk.JoinSeries(image)):
        result = segmenter(scan)
        np.testing.assert_array_equal(result.labels.array, truth.array)
        assert result.labels.array.dtype == np.uint8
        assert result.labels.geometry.matches(ct.geometry, tolerance_mm=1e-4)
        # the organs are blocks of a few millilitres
        assert [note.code for note in result.notes] == PHANTOM


def test_a_result_tells_volumes_the_roi_and_seconds_and_saves_itself(segmenter: dmf.Segmenter, tmp_path: Path) -> None:
    ct, truth = block_phantom()
    result = segmenter(ct)
    assert list(result.volumes_ml) == list(segmenter.organs)
    assert result.volumes_ml["liver"] == pytest.approx(np.count_nonzero(truth.array == 1) * 12 / 1000)
    assert result.roi.spacing_zyx == ct.geometry.spacing_zyx
    assert all(roi <= scan for roi, scan in zip(result.roi.shape_zyx, ct.geometry.shape_zyx, strict=True))
    assert list(result.seconds) == ["read", "wait", "coarse", "crop", "fine", "restore", "components"]
    result.save(tmp_path / "labels.nrrd")
    np.testing.assert_array_equal(read_volume(tmp_path / "labels.nrrd").array, truth.array)
    with pytest.raises(dmf.ImageError, match=r"labels\.png: its name tells no known kind of file; name it \*\.nii\.gz"):
        result.save(tmp_path / "labels.png")


def test_voxels_without_a_value_are_told_first(segmenter: dmf.Segmenter) -> None:
    ct, _ = block_phantom()
    hu = ct.array.astype(np.float64)
    hu[0, 0, :2] = np.nan
    hu[4:] = -1000
    notes = segmenter(dmf.Volume(hu, ct.geometry)).notes
    assert notes[0] == "2 voxels have no value and were read as air"
    assert notes[1].code == "values-padded"
    assert "found no organs" in notes[2]


def test_threads_get_the_labels_that_one_after_the_other_would(segmenter: dmf.Segmenter) -> None:
    ct, _ = block_phantom()
    # the scans differ in shape and content, so that a mix of two would show
    scans = [
        dmf.Volume(ct.array[start:].copy(), ct.geometry.with_grid((20 - start, 24, 28), (3.0, 2.0, 2.0)))
        for start in range(8)
    ]
    alone = [segmenter(scan).labels.array for scan in scans]
    with ThreadPoolExecutor(max_workers=4) as pool:
        together = list(pool.map(segmenter, scans * 3))
    for result, expected in zip(together, alone * 3, strict=True):
        np.testing.assert_array_equal(result.labels.array, expected)


def test_two_segmenters_do_not_disturb_each_other(segmenter: dmf.Segmenter, models: Path) -> None:
    ct, truth = block_phantom()
    with dmf.load(models=models, device="cpu", backend="onnxruntime") as other:
        assert other.wait().startswith("ONNX Runtime on the CPU")
        np.testing.assert_array_equal(other(ct).labels.array, truth.array)
    np.testing.assert_array_equal(segmenter(ct).labels.array, truth.array)


def test_a_closed_segmenter_says_so_in_one_sentence(models: Path) -> None:
    segmenter = dmf.load(models=models, device="cpu")
    segmenter.close()
    segmenter.close()
    for use in (segmenter.wait, lambda: segmenter(block_phantom()[0]), segmenter.__enter__().wait):
        with pytest.raises(dmf.LoadError, match=r"^this segmenter is closed; make another one with [\w.]+\(\)$"):
            use()


@pytest.mark.parametrize(
    ("scan", "complaint"),
    [
        ("nowhere.nii.gz", "no such file"),
        (np.zeros((3, 4, 5)), r"not ndarray; give an array its place in the patient with Volume\(array, Geometry"),
        (None, "not NoneType"),
        (sitk.Image(4, 5, sitk.sitkInt16), "2 dimensions"),
        (sitk.Image([4, 5, 6], sitk.sitkVectorUInt8, 3), "3 values per voxel"),
        (
            dmf.Volume(
                np.zeros((1, 1, 1), np.complex64), dmf.Geometry((1, 1, 1), (1, 1, 1), (0, 0, 0), CANONICAL_AXES_LPS)
            ),
            "type complex64 are no intensities",
        ),
    ],
)
def test_what_is_no_scan_is_refused_and_the_next_one_is_labelled(
    segmenter: dmf.Segmenter, scan: Any, complaint: str
) -> None:
    with pytest.raises(dmf.ImageError, match=complaint):
        segmenter(scan)
    assert segmenter(block_phantom()[0]).labels.array.any()


def test_what_cannot_be_loaded_is_refused_in_a_sentence(tmp_path: Path, models: Path) -> None:
    with pytest.raises(dmf.ManifestError, match="no manifest at"):
        dmf.load(models=tmp_path)
    with pytest.raises(dmf.LoadError, match="there is no device 'gpu'; take one of auto, cpu, cuda"):
        dmf.load(models=models, device="gpu")  # type: ignore[arg-type]
    with pytest.raises(dmf.LoadError, match="there is no backend 'torch'"):
        dmf.load(models=models, backend="torch")  # type: ignore[arg-type]
    broken = write_models(tmp_path / "broken")
    (broken / "fine.onnx").write_bytes(b"no network")
    segmenter = dmf.load(models=broken, device="cpu")
    with pytest.raises(NetworkError, match=r"fine\.onnx is not the file"):
        segmenter(block_phantom()[0])


def test_without_a_folder_the_models_of_this_release_are_loaded() -> None:
    with dmf.load(device="cpu") as segmenter:
        assert list(segmenter.organs.values()) == list(range(1, 14))


def test_where_a_runtime_fails_on_a_scan_the_next_best_labels_it_and_a_note_says_so(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = [Runtime("onnxruntime", "cpu", 1), Runtime("openvino", "cpu", 1)]
    monkeypatch.setattr("attention_dmfnet.model.loading.runtimes_to_try", lambda *_: both)

    score = OnnxRuntimeNetwork.__call__

    def fail(*_: object) -> None:
        raise dmf.RunError("ONNX Runtime failed: out of memory")

    def unusable(*_: object) -> None:
        raise dmf.LoadError("no OpenVINO here")

    monkeypatch.setattr(OnnxRuntimeNetwork, "__call__", fail)
    ct, truth = block_phantom()
    with dmf.load(models=models) as segmenter:
        for _ in range(2):
            result = segmenter(ct)
            np.testing.assert_array_equal(result.labels.array, truth.array)
            assert [note.code for note in result.notes] == ["runtime-replaced", *PHANTOM]
            assert result.notes[0] == (
                "labelled by OpenVINO on the CPU, 1 thread, float32 (ONNX Runtime failed: out of memory)"
            )
        # the next scan is the first one's again, which may have room for it
        monkeypatch.setattr(OnnxRuntimeNetwork, "__call__", score)
        assert [note.code for note in segmenter(ct).notes] == PHANTOM
        monkeypatch.setattr(OnnxRuntimeNetwork, "__call__", fail)
        # where the other cannot be used at all, it is still this scan alone that fails
    monkeypatch.setattr("attention_dmfnet.model.backend_openvino.load", unusable)
    with dmf.load(models=models) as segmenter, pytest.raises(dmf.RunError, match="out of memory; no OpenVINO"):
        segmenter(ct)
    # and where none is left
    monkeypatch.setattr("attention_dmfnet.model.loading.runtimes_to_try", lambda *_: both[:1])
    with dmf.load(models=models) as segmenter, pytest.raises(dmf.RunError, match="out of memory"):
        segmenter(ct)


def test_strict_refuses_what_is_doubtful_a_file_and_a_volume(models: Path, tmp_path: Path) -> None:
    ct, _ = block_phantom()
    doubtful = dmf.Volume((ct.array + 300).astype(np.int16), ct.geometry)
    write_volume(doubtful, tmp_path / "a.nii.gz")
    with dmf.load(models=models, device="cpu", strict=True) as strict:
        for scan in (doubtful, tmp_path / "a.nii.gz"):
            with pytest.raises(dmf.ImageError, match="no HU"):
                strict(scan)
        assert strict(ct).labels.array.any()
    with dmf.load(models=models, device="cpu") as lenient:
        assert lenient(doubtful).notes[0].code == "values-no-hu"


def test_a_program_may_end_while_networks_are_still_being_loaded(tmp_path: Path) -> None:
    """A runtime that compiles while Python takes itself down has ended half of such programs with SIGABRT."""
    models = Path(__file__).parents[2] / "models"
    script = "import sys, attention_dmfnet; attention_dmfnet.load(models=sys.argv[1])(sys.argv[2])"
    for _ in range(4):
        ended = subprocess.run(
            [sys.executable, "-c", script, models, tmp_path / "nowhere.nii.gz"], capture_output=True, text=True
        )
        assert ended.returncode == 1, ended.stderr
        assert "no such file" in ended.stderr


def test_a_folder_of_files_is_told_what_to_give(segmenter: dmf.Segmenter, tmp_path: Path) -> None:
    write_volume(block_phantom()[0], tmp_path / "b.nii.gz")
    write_volume(block_phantom()[0], tmp_path / "a.nrrd")
    with pytest.raises(dmf.ImageError) as raised:
        segmenter(tmp_path)
    assert str(raised.value) == (
        f"{tmp_path} is a folder with scans that are files; give one of them, {tmp_path / 'a.nrrd'} for example"
    )
