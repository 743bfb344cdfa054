import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

import attention_dmfnet as dmf
import numpy as np
import pytest
from attention_dmfnet import folder, segmenter
from attention_dmfnet.files import image_io
from attention_dmfnet.files.cases import Case, ScanFile
from attention_dmfnet.files.image_io import ImageError, read_volume, write_labels, write_volume
from attention_dmfnet.files.read_ahead import ReadAhead
from attention_dmfnet.folder import CaseReport, predict
from attention_dmfnet.geometry import Volume
from attention_dmfnet.model.network import LoadError, NetworkError, RunError
from attention_dmfnet.notes import Note
from attention_dmfnet.segmenter import Scored, Segmentation, Segmenter
from attention_dmfnet.steps.stage import StageModel

from tests.engine.tiny import AIR_HU, block_phantom, organ_hu, write_models


def _scans(inputs: Path, names: Sequence[str]) -> list[Path]:
    ct, _ = block_phantom()
    inputs.mkdir(exist_ok=True)
    for name in names:
        if "bad" in name:
            (inputs / name).write_bytes(b"not a scan")
        else:
            write_volume(ct, inputs / name)
    return [inputs / name for name in names]


def _predict(cases: list[Path], outputs: Path, models: Path) -> list[CaseReport]:
    outputs.mkdir(exist_ok=True)
    return list(predict(list(map(ScanFile, cases)), outputs, _segmenter(models)))


def _segmenter(models: Path) -> Segmenter:
    return dmf.load(models=models, device="cpu", backend="openvino")


def test_every_case_is_labelled_on_its_own_grid_and_reported(tmp_path: Path, models: Path) -> None:
    ct, truth = block_phantom()
    cases = _scans(tmp_path / "in", ["a_0000.nii.gz", "b.mha", "c.nrrd"])
    reports = _predict(cases, tmp_path / "out", models)
    assert [(report.case, report.status) for report in reports] == [("a", "done"), ("b", "done"), ("c", "done")]
    for name in "abc":
        labels = read_volume(tmp_path / "out" / f"{name}.nii.gz")
        np.testing.assert_array_equal(labels.array, truth.array)
        assert labels.geometry.matches(ct.geometry, tolerance_mm=1e-4)
    assert {"read", "coarse", "crop", "fine", "restore", "components", "write", "total"} <= set(reports[0].seconds)
    assert reports[0].volumes_ml["liver"] == pytest.approx(0.72)


def test_a_case_that_fails_is_named_and_the_others_are_there(tmp_path: Path, models: Path) -> None:
    cases = _scans(tmp_path / "in", ["a.nii.gz", "bad.nii.gz", "c.nii.gz"])
    reports = _predict(cases, tmp_path / "out", models)
    assert [report.status for report in reports] == ["done", "failed", "done"]
    assert "bad.nii.gz" in (reports[1].error or "")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.nii.gz", "c.nii.gz"]


def test_an_unexpected_failure_is_one_cases_too(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cases = _scans(tmp_path / "in", ["a.nii.gz", "b.nii.gz"])

    _fail_once(monkeypatch, MemoryError("17 GB"))
    reports = _predict(cases, tmp_path / "out", models)
    assert [report.status for report in reports] == ["failed", "done"]
    assert reports[0].error == (f"{cases[0]}: there is not enough memory for it (17 GB); allow more, or crop the scan")
    assert "Traceback" in caplog.text


def _fail_once(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """The networks fail on the first scan that they are shown."""
    score = Segmenter.score

    def fail(self: Segmenter, ct: Volume) -> Scored:
        monkeypatch.setattr(Segmenter, "score", score)
        raise error

    monkeypatch.setattr(Segmenter, "score", fail)


def test_a_runtime_that_fails_on_a_case_costs_that_case_alone(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cases = _scans(tmp_path / "in", ["a.nii.gz", "b.nii.gz"])
    _fail_once(monkeypatch, RunError("ONNX Runtime failed: out of memory"))
    reports = _predict(cases, tmp_path / "out", models)
    assert [report.status for report in reports] == ["failed", "done"]
    assert reports[0].error == "ONNX Runtime failed: out of memory"
    assert caplog.text == ""


def test_a_network_that_cannot_be_used_stops_everything(tmp_path: Path, models: Path) -> None:
    cases = _scans(tmp_path / "in", ["a.nii.gz"])
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "manifest.json").write_bytes((models / "manifest.json").read_bytes())
    with pytest.raises(NetworkError, match="not there"):
        list(predict(list(map(ScanFile, cases)), tmp_path, _segmenter(tmp_path / "models")))


def test_notes_from_reading_and_from_the_method_reach_the_report(tmp_path: Path, models: Path) -> None:
    ct, _ = block_phantom()
    hu = ct.array.astype(np.float32)
    hu[0, 0, 0] = np.nan
    hu[4:] = -1000
    write_volume(Volume(hu, ct.geometry), tmp_path / "a.nii.gz")
    report = _predict([tmp_path / "a.nii.gz"], tmp_path / "out", models)[0]
    assert [note.code for note in report.notes] == ["empty-voxels", "values-padded", "no-roi", "not-an-abdomen"]
    assert "read as air" in report.notes[0]
    assert "found no organs" in report.notes[2]


def test_steps_are_told_with_the_case_they_belong_to(tmp_path: Path, models: Path) -> None:
    cases = _scans(tmp_path / "in", ["a.nii.gz"])
    told: list[tuple[str, str]] = []
    files = list(map(ScanFile, cases))
    list(predict(files, tmp_path, _segmenter(models), lambda case, what: told.append((case, what))))
    assert told[0] == ("a", "wait")
    assert told[-1] == ("a", "write")


def test_the_labels_of_one_scan_are_made_while_the_networks_see_the_next(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ct, truth = block_phantom()
    write_volume(ct, tmp_path / "a.nii.gz")
    write_volume(Volume(np.full_like(ct.array, -1000), ct.geometry), tmp_path / "b.nii.gz")
    second_seen = threading.Event()
    seen: list[Volume] = []

    score, label = Segmenter.score, Segmenter.label

    def watched_score(self: Segmenter, ct: Volume) -> Scored:
        found = score(self, ct)
        seen.append(ct)
        if len(seen) == 2:
            second_seen.set()
        return found

    def late_label(self: Segmenter, found: Scored, probabilities: bool = False) -> Segmentation:
        # the first scan's labels are made from scores that the second scan's must not have replaced
        assert second_seen.wait(timeout=600)
        return label(self, found, probabilities)

    monkeypatch.setattr(Segmenter, "score", watched_score)
    monkeypatch.setattr(Segmenter, "label", late_label)
    reports = _predict([tmp_path / "a.nii.gz", tmp_path / "b.nii.gz"], tmp_path / "out", models)
    assert [report.status for report in reports] == ["done", "done"]
    np.testing.assert_array_equal(read_volume(tmp_path / "out" / "a.nii.gz").array, truth.array)
    assert not read_volume(tmp_path / "out" / "b.nii.gz").array.any()


def test_labels_that_cannot_be_made_or_written_fail_one_case(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(labels: Volume, path: Path, organs: dict[str, int]) -> None:
        if path.name.startswith("a"):
            raise ImageError(f"cannot write {path}: is the disk full?")
        write_labels(labels, path, organs)

    monkeypatch.setattr(segmenter, "write_labels", full)
    reports = _predict(_scans(tmp_path / "in", ["a.nii.gz", "b.nii.gz"]), tmp_path / "out", models)
    assert [report.status for report in reports] == ["failed", "done"]
    assert "is the disk full?" in (reports[0].error or "")


@pytest.mark.parametrize("error", [LoadError("the GPU is lost"), KeyboardInterrupt()])
def test_whatever_ends_a_run_the_case_before_is_whole_and_reported(
    error: BaseException, tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = _scans(tmp_path / "in", ["a.nii.gz", "b.nii.gz"])
    score = Segmenter.score

    def score_once(self: Segmenter, ct: Volume) -> Scored:
        _fail_once(monkeypatch, error)
        return score(self, ct)

    monkeypatch.setattr(Segmenter, "score", score_once)
    reports = predict(list(map(ScanFile, cases)), tmp_path, _segmenter(models))
    assert next(reports).status == "done"
    with pytest.raises(type(error)):
        next(reports)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii.gz").array, block_phantom()[1].array)


def _put_liver_on_kidney(ct: Volume) -> None:
    """Ten slices of liver on six of a kidney, which alone a coarse network that is blind to the liver sees."""
    ct.array[:] = AIR_HU
    ct.array[2:8, 4:20, 4:24] = organ_hu(13)
    ct.array[8:18, 4:20, 4:24] = organ_hu(1)


class FakeDisk:
    """Scans that exist only while somebody holds them; counts how many exist at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.most_alive = 0
        self.reads = 0
        self.reading = threading.Semaphore(0)
        self.alive: weakref.WeakSet[Volume] = weakref.WeakSet()
        self.template = block_phantom()[0]
        monkeypatch.setattr(image_io, "read_scan", self._read)

    def _read(self, path: Path, notes: list[Note], strict: bool) -> Volume:
        if "bad" in path.name:
            raise ImageError(f"cannot read {path}")
        self.reads += 1
        volume = _Tracked(self.template.array.copy(), self.template.geometry)
        self.alive.add(volume)
        self.most_alive = max(self.most_alive, len(self.alive))
        self.reading.release()
        return volume


class _Tracked(Volume):
    """A volume that can be watched."""


def test_the_next_scan_is_read_while_this_one_is_held_and_no_third(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FakeDisk(monkeypatch)
    with ReadAhead([ScanFile(Path(f"{number}.nii")) for number in range(5)]) as ahead:
        assert disk.reading.acquire(timeout=600)
        for number in range(5):
            scan = ahead.take()
            assert scan.notes == ()
            if number < 4:  # the next one is read while this one is held
                assert disk.reading.acquire(timeout=600)
            del scan
    assert disk.most_alive == 2


def test_a_whole_run_holds_at_most_two_scans(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FakeDisk(monkeypatch)
    reports = _predict([tmp_path / f"{name}.nii" for name in ("a", "b", "bad", "d", "e")], tmp_path / "out", models)
    assert [report.status for report in reports] == ["done", "done", "failed", "done", "done"]
    # the next one may be read before or after this one is let go
    assert disk.most_alive <= 2


def _alive_at_the_fine_network(disk: FakeDisk, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many scans exist each time that the fine network computes; it grows as it does."""
    alive: list[int] = []

    def counted(cropped: segmenter.Cropped, fine: StageModel) -> Scored:
        alive.append(len(disk.alive))
        return score_cropped(cropped, fine)

    score_cropped = segmenter.score_cropped
    monkeypatch.setattr(segmenter, "score_cropped", counted)
    return alive


def test_a_scan_is_let_go_before_the_fine_network_computes_unless_a_further_output_needs_it(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FakeDisk(monkeypatch)
    alive = _alive_at_the_fine_network(disk, monkeypatch)
    _predict([tmp_path / "a.nii"], tmp_path / "out", models)
    with _segmenter(models) as one:
        one(tmp_path / "a.nii")
    list(predict([ScanFile(tmp_path / "a.nii")], tmp_path / "out", _segmenter(models), extras=[_Watching()]))
    assert alive == [0, 0, 1]


def test_a_scan_whose_organs_go_on_beyond_the_roi_is_read_again_and_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FakeDisk(monkeypatch)
    _put_liver_on_kidney(disk.template)
    alive = _alive_at_the_fine_network(disk, monkeypatch)
    blind = write_models(tmp_path / "models", coarse_sees_hu=organ_hu(5))
    (report,) = _predict([tmp_path / "a.nii"], tmp_path / "out", blind)
    assert [note.code for note in report.notes].count("roi-widened") == 1
    assert alive == [0, 0]
    labels = read_volume(tmp_path / "out" / "a.nii.gz").array
    assert int((labels == 1).sum()) == 10 * 16 * 20
    with _segmenter(blind) as one:
        np.testing.assert_array_equal(one(tmp_path / "a.nii").labels.array, labels)
    assert alive == [0] * 4
    list(predict([ScanFile(tmp_path / "a.nii")], tmp_path / "out", _segmenter(blind), extras=[_Watching()]))
    assert alive == [0] * 4 + [1] * 2
    assert disk.reads == 2 + 2 + 1


@pytest.mark.parametrize("what", ["replaced", "deleted"])
@pytest.mark.parametrize("way", ["predict", "call"])
def test_a_scan_that_is_another_one_when_it_is_read_again_keeps_the_labels_of_what_was_read(
    what: str, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ct, _ = block_phantom()
    _put_liver_on_kidney(ct)
    scan = tmp_path / "a.nii.gz"
    write_volume(ct, scan)

    def changing(cropped: segmenter.Cropped, fine: StageModel) -> Scored:
        scan.unlink()
        if what == "replaced":
            write_volume(Volume(np.full_like(ct.array, AIR_HU), ct.geometry), scan)
        return score_cropped(cropped, fine)

    score_cropped = segmenter.score_cropped
    monkeypatch.setattr(segmenter, "score_cropped", changing)
    blind = write_models(tmp_path / "models", coarse_sees_hu=organ_hu(5))
    if way == "predict":
        (report,) = _predict([scan], tmp_path / "out", blind)
        assert report.status == "done"
        notes = list(report.notes)
        labels = read_volume(tmp_path / "out" / "a.nii.gz").array
    else:
        with _segmenter(blind) as one:
            result = one(scan)
        notes, labels = list(result.notes), result.labels.array
    (note,) = [note for note in notes if "roi" in note.code]
    assert note.code == "organ-beyond-roi"
    assert str(scan) in note
    assert ("has changed while it was labelled" in note) == (what == "replaced")
    # the kidney, and of the liver what the first ROI held
    assert int((labels == 13).sum()) == 6 * 16 * 20
    assert 0 < int((labels == 1).sum()) < 10 * 16 * 20


def test_a_scan_that_cannot_be_read_fails_at_its_own_turn() -> None:
    with ReadAhead([ScanFile(Path("nowhere_1.nii")), ScanFile(Path("nowhere_2.nii"))]) as ahead:
        with pytest.raises(ImageError, match="nowhere_1"):
            ahead.take()
        with pytest.raises(ImageError, match="nowhere_2"):
            ahead.take()
        with pytest.raises(IndexError):
            ahead.take()


def test_no_scan_is_read_before_the_one_ahead_of_it_was_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []
    gate: Future[None] = Future()

    def read(path: Path, notes: list[Note], strict: bool) -> Volume:
        begun.append(path.name)
        gate.result(timeout=600)
        return block_phantom()[0]

    monkeypatch.setattr(image_io, "read_scan", read)
    with ReadAhead([ScanFile(Path(name)) for name in ("1", "2", "3")]) as ahead:
        gate.set_result(None)
        ahead.take()
        ahead.take()
        assert begun[:2] == ["1", "2"]


class _Watching:
    """An extra that keeps what it was given, and may fail."""

    def __init__(self, fails: str = "") -> None:
        self.fails = fails
        self.seen: list[tuple[str, Volume, Segmentation, bool]] = []

    def write(self, case: Case, ct: Volume, result: Segmentation, outputs: Path) -> None:
        self.seen.append((case.name, ct, result, (outputs / f"{case.name}.nii.gz").exists()))
        if case.name == self.fails:
            raise ImageError(f"{case.path}: no room for a picture")


def _predict_with(extra: _Watching, tmp_path: Path, models: Path, names: list[str]) -> list[CaseReport]:
    (tmp_path / "out").mkdir()
    cases = [ScanFile(path) for path in _scans(tmp_path / "in", names)]
    return list(predict(cases, tmp_path / "out", _segmenter(models), extras=[extra]))


def test_an_extra_sees_the_scan_the_labels_and_their_numbers_when_the_label_map_is_there(
    tmp_path: Path, models: Path
) -> None:
    ct, truth = block_phantom()
    extra = _Watching()
    reports = _predict_with(extra, tmp_path, models, ["a.nii.gz", "bad.nii.gz", "b.nii.gz"])
    assert [report.status for report in reports] == ["done", "failed", "done"]
    assert [(name, there) for name, _, _, there in extra.seen] == [("a", True), ("b", True)]
    for _, seen, result, _ in extra.seen:
        np.testing.assert_array_equal(seen.array, ct.array)
        np.testing.assert_array_equal(result.labels.array, truth.array)
        assert result.organs["left kidney"] == 13
    assert "extras" in reports[0].seconds


def test_an_extra_that_fails_fails_its_case_by_name(tmp_path: Path, models: Path) -> None:
    reports = _predict_with(_Watching(fails="a"), tmp_path, models, ["a.nii.gz", "b.nii.gz"])
    assert [report.status for report in reports] == ["failed", "done"]
    assert reports[0].error == f"{tmp_path / 'in' / 'a.nii.gz'}: no room for a picture"
    assert (tmp_path / "out" / "a.nii.gz").exists()


def test_without_extras_no_scan_is_kept(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = []
    finish = folder._Run.finish

    def watch(self: folder._Run, found: folder._Found) -> CaseReport:
        kept.append(found.ct)
        return finish(self, found)

    monkeypatch.setattr(folder._Run, "finish", watch)
    _predict(_scans(tmp_path / "in", ["a.nii.gz"]), tmp_path / "out", models)
    assert kept == [None]
