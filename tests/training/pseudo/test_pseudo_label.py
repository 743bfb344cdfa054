"""``python -m training pseudo-label`` as a person types it, with teachers that are real networks in the engine."""

import json
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from attention_dmfnet.cli.main import main as engine_main
from attention_dmfnet.files.image_io import read_volume, write_labels
from attention_dmfnet.geometry import Volume
from attention_dmfnet.model.manifest import Manifest
from attention_dmfnet.segmenter import Segmentation, segment
from attention_dmfnet.steps.stage import StageModel

import training.pseudo.teachers
from evaluation.accuracy.dice import dice_by_organ
from evaluation.organs import ORGANS
from tests.training.small_patients import make_patient, write_flare22, write_recipe_for_patients, write_teacher
from training.__main__ import main
from training.data.dataset import open_dataset
from training.data.pseudo_folder import LabelledCase, read_pseudo


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_teacher(tmp_path_factory.mktemp("teachers") / "sees")


@pytest.fixture(scope="module")
def doubter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Takes the aorta (5) for something else."""
    return write_teacher(tmp_path_factory.mktemp("teachers") / "blind", blind_to=5)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return write_flare22(tmp_path / "raw", labelled=2, unlabelled=2)


def scans(raw: Path) -> Path:
    return raw / "FLARE22_UnlabeledCase1-1000"


@pytest.fixture
def dataset(tmp_path: Path, raw: Path) -> Path:
    """Its fingerprint knows how large these patients' organs are."""
    recipe = write_recipe_for_patients(tmp_path / "recipe.toml")
    folder = tmp_path / "data"
    assert main(["prepare", str(raw), "--to", str(folder), "--recipe", str(recipe), "--workers", "1"]) == 0
    return folder


def label(raw: Path, to: Path, dataset: Path, *models: Path, extra: tuple[str, ...] = ()) -> int:
    arguments = ["pseudo-label", str(scans(raw)), "--to", str(to), "--data", str(dataset), "--device", "cpu"]
    return main([*arguments, *extra, "--models", *map(str, models)])


def read_case(folder: Path, name: str) -> LabelledCase:
    return msgspec.json.decode((folder / "cases" / f"{name}.json").read_bytes(), type=LabelledCase)


def test_labels_are_those_that_the_engine_predicts(tmp_path: Path, raw: Path, dataset: Path, teacher: Path) -> None:
    assert label(raw, tmp_path / "pseudo", dataset, teacher) == 0
    assert engine_main(["predict", str(scans(raw)), str(tmp_path / "predicted"), "--models", str(teacher)]) == 0
    for name in ("Case_00001", "Case_00002"):
        pseudo, predicted = (read_volume(tmp_path / each / f"{name}.nii.gz") for each in ("pseudo/labels", "predicted"))
        assert pseudo.geometry.matches(predicted.geometry)
        np.testing.assert_array_equal(pseudo.array, predicted.array)


def test_a_good_teachers_organs_are_kept(tmp_path: Path, raw: Path, dataset: Path, teacher: Path) -> None:
    assert label(raw, tmp_path / "pseudo", dataset, teacher) == 0
    for decision in read_pseudo(tmp_path / "pseudo").cases:
        assert decision.kept
        assert decision.annotated == tuple(range(1, 14))
    true = make_patient(101)[1]
    pseudo = read_volume(tmp_path / "pseudo" / "labels" / "Case_00001.nii.gz")
    assert min(dice_by_organ(pseudo.array, true.array).values()) > 0.85
    about = read_case(tmp_path / "pseudo", "Case_00001")
    assert set(about.organs) == set(ORGANS)
    assert about.organs["liver"].volume_ml == pytest.approx(268.8, rel=0.1)
    assert (about.organs["liver"].mean_probability or 0) > 0.99
    assert about.organs["liver"].agreement is None


def test_an_organ_on_which_teachers_disagree_is_dropped_and_reported(
    tmp_path: Path, raw: Path, dataset: Path, teacher: Path, doubter: Path
) -> None:
    assert label(raw, tmp_path / "pseudo", dataset, teacher, doubter) == 0
    index = read_pseudo(tmp_path / "pseudo")
    assert len(index.teachers) == 2
    for decision in index.cases:
        assert decision.kept
        assert 5 not in decision.annotated
        assert "teachers agree by" in decision.dropped["aorta"]
    report = (tmp_path / "pseudo" / "report.md").read_text()
    assert "2 of 2 cases are kept" in report
    assert "- aorta: teachers agree by" in report
    assert "![Case_00001](pictures/Case_00001.png)" in report
    assert (tmp_path / "pseudo" / "pictures" / "Case_00001.png").stat().st_size > 10_000


def test_an_organ_that_a_patients_phases_show_differently_is_not_trusted(
    tmp_path: Path, raw: Path, dataset: Path, teacher: Path
) -> None:
    """Organs are the same in both but for where they lie; then half of one liver goes: 2 * 1 / (1 + 2) = 0.67."""
    for number, phase in ((1, "arterial"), (2, "portal")):
        (scans(raw) / f"Case_0000{number}_0000.nii.gz").rename(scans(raw) / f"A-1-{phase}_0000.nii.gz")
    pseudo = tmp_path / "pseudo"
    assert label(raw, pseudo, dataset, teacher) == 0
    assert all(decision.dropped == {} for decision in read_pseudo(pseudo).cases)
    portal = pseudo / "labels" / "A-1-portal.nii.gz"
    volume = read_volume(portal)
    array = volume.array.astype(np.uint8)
    places = np.argwhere(array == 1)
    for place in places[places[:, 2] > np.median(places[:, 2])]:
        array[tuple(place)] = 0
    write_labels(Volume(array, volume.geometry), portal)
    assert label(raw, pseudo, dataset, teacher) == 0
    for decision in read_pseudo(pseudo).cases:
        assert list(decision.dropped) == ["liver"]
        assert "the patient's phases agree by 0.6" in decision.dropped["liver"]


def test_a_second_run_labels_nothing_again_but_selects_anew(
    tmp_path: Path,
    raw: Path,
    dataset: Path,
    teacher: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert label(raw, tmp_path / "pseudo", dataset, teacher) == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "pseudo").glob("labels/*")}

    def refuse(*arguments: object) -> None:
        raise AssertionError("a scan was labelled again")

    monkeypatch.setattr(training.pseudo.teachers, "segment", refuse)
    strict = tmp_path / "strict.toml"
    strict.write_text("[min_probability]\nliver = 1.0\n")
    assert label(raw, tmp_path / "pseudo", dataset, teacher, extra=("--selection", str(strict))) == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "pseudo").glob("labels/*")} == before
    assert all("liver" in decision.dropped for decision in read_pseudo(tmp_path / "pseudo").cases)
    name = read_pseudo(tmp_path / "pseudo").cases[0].name
    strict.write_text(f"[leave_out]\n{name} = ['spleen']\n")
    assert label(raw, tmp_path / "pseudo", dataset, teacher, extra=("--selection", str(strict))) == 0
    by_hand = [c.name for c in read_pseudo(tmp_path / "pseudo").cases if c.dropped.get("spleen") == "left out by hand"]
    assert by_hand == [name]
    strict.write_text("[leave_out]\nnobody = ['spleen']\n")
    assert label(raw, tmp_path / "pseudo", dataset, teacher, extra=("--selection", str(strict))) != 0
    assert "'nobody', which is no scan here; mend leave_out" in capsys.readouterr().err


def test_an_interrupted_run_goes_on_where_it_stopped(
    tmp_path: Path, raw: Path, dataset: Path, teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def stop_at_the_second(ct: Volume, coarse: StageModel, fine: StageModel, manifest: Manifest) -> Segmentation:
        calls.append(ct)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return segment(ct, coarse, fine, manifest)

    monkeypatch.setattr(training.pseudo.teachers, "segment", stop_at_the_second)
    assert label(raw, tmp_path / "pseudo", dataset, teacher) == 130
    assert [path.name for path in (tmp_path / "pseudo" / "labels").iterdir()] == ["Case_00001.nii.gz"]
    assert not (tmp_path / "pseudo" / "pseudo.json").exists()
    assert label(raw, tmp_path / "pseudo", dataset, teacher) == 0
    # the first run's two, and the second run's one
    assert len(calls) == 3
    assert len(read_pseudo(tmp_path / "pseudo").cases) == 2


def test_another_teacher_labels_everything_again(
    tmp_path: Path, raw: Path, dataset: Path, teacher: Path, doubter: Path
) -> None:
    assert label(raw, tmp_path / "pseudo", dataset, teacher) == 0
    first = read_case(tmp_path / "pseudo", "Case_00001")
    assert label(raw, tmp_path / "pseudo", dataset, doubter) == 0
    second = read_case(tmp_path / "pseudo", "Case_00001")
    assert first.teachers != second.teachers
    assert "aorta" not in second.organs


def test_a_scan_that_cannot_be_read_does_not_stop_the_others(
    tmp_path: Path, raw: Path, dataset: Path, teacher: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = scans(raw) / "Case_00001_0000.nii.gz"
    bad.write_bytes(bad.read_bytes()[:500])
    assert label(raw, tmp_path / "pseudo", dataset, teacher) == 1
    assert [decision.name for decision in read_pseudo(tmp_path / "pseudo").cases] == ["Case_00002"]
    assert "1 scans could not be labelled: Case_00001" in capsys.readouterr().err
    assert "Case_00001: cannot read" in (tmp_path / "pseudo" / "report.md").read_text()


def test_refuses_models_that_are_not_there(
    tmp_path: Path, raw: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert label(raw, tmp_path / "pseudo", dataset, tmp_path / "nowhere") == 1
    assert "no manifest at" in capsys.readouterr().err


def test_refuses_models_with_other_numbers(
    tmp_path: Path, raw: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = write_teacher(tmp_path / "models")
    manifest = json.loads((models / "manifest.json").read_text())
    manifest["labels"] |= {"liver": 3, "spleen": 1}
    (models / "manifest.json").write_text(json.dumps(manifest))
    assert label(raw, tmp_path / "pseudo", dataset, models) == 1
    assert "number their organs unlike FLARE22" in capsys.readouterr().err


def test_what_was_selected_can_be_prepared_for_a_student(
    tmp_path: Path, raw: Path, dataset: Path, teacher: Path, doubter: Path
) -> None:
    pseudo = tmp_path / "pseudo"
    assert label(raw, pseudo, dataset, teacher, doubter) == 0
    recipe = tmp_path / "recipe.toml"
    arguments = ["prepare", str(raw), "--to", str(tmp_path / "student"), "--recipe", str(recipe), "--workers", "1"]
    assert main([*arguments, "--pseudo", str(pseudo), "--splits", str(dataset / "splits.json")]) == 0
    taught = [case for case in open_dataset(tmp_path / "student", "fine").cases if case.is_pseudo]
    assert [case.name for case in taught] == ["Case_00001", "Case_00002"]
    for case in taught:
        assert case.annotated == set(range(1, 14)) - {5}
        assert 5 not in case.class_locations


def test_an_ensemble_labels_by_the_mean_and_agrees_less_where_one_is_blind(
    tmp_path: Path, raw: Path, dataset: Path, teacher: Path, doubter: Path
) -> None:
    # two see the aorta (5) with near certainty, one takes it for its neighbours: the mean still sees it
    assert label(raw, tmp_path / "pseudo", dataset, doubter, teacher, teacher, extra=("--ensemble",)) == 0
    about = read_case(tmp_path / "pseudo", "Case_00001")
    true = make_patient(101)[1]
    found = read_volume(tmp_path / "pseudo" / "labels" / "Case_00001.nii.gz")
    assert dice_by_organ(found.array, true.array)["aorta"] > 0.8
    agreement = about.organs["aorta"].agreement
    assert agreement is not None
    assert agreement == pytest.approx(2 / 3, abs=0.03)  # 1, 1 and 0
    probability = about.organs["aorta"].mean_probability
    assert probability is not None
    assert probability == pytest.approx(2 / 3, abs=0.1)
    assert (about.organs["liver"].agreement or 0) > 0.98
    assert about.teachers[0] == "together"


def test_many_machines_of_a_cluster_label_as_one_does(
    raw: Path,
    dataset: Path,
    teacher: Path,
    doubter: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import cluster.folder_job
    from tests.cluster.inline import InlineCrew

    def one_worker(make: object, payload_of: object, needs: object, each: int, address: str) -> InlineCrew:
        assert address == "auto"
        return InlineCrew(SimpleNamespace(make=make), payload_of, needs)  # type: ignore[arg-type]

    monkeypatch.setattr(cluster.folder_job, "RayCrew", one_worker)
    bad = scans(raw) / "Case_00003_0000.nii.gz"
    bad.write_bytes(b"no scan")
    one, many = tmp_path / "one", tmp_path / "many"
    assert label(raw, one, dataset, teacher, doubter) == 1
    expected = capsys.readouterr().err
    assert "Case_00003  FAILED: " in expected
    assert label(raw, many, dataset, teacher, doubter, extra=("--cluster", "auto")) == 1
    assert [line for line in capsys.readouterr().err.splitlines() if "FAILED" in line] == [
        line for line in expected.splitlines() if "FAILED" in line
    ]
    bad.unlink()
    decided = [msgspec.structs.asdict(read_pseudo(folder)) for folder in (one, many)]
    assert decided[0] == decided[1]
    names = sorted(path.name for path in (one / "labels").iterdir())
    assert len(names) == 2
    for name in names:
        assert (many / "labels" / name).read_bytes() == (one / "labels" / name).read_bytes()
    # all is there: no worker is asked for
    monkeypatch.setattr(cluster.folder_job, "RayCrew", None)
    assert label(raw, many, dataset, teacher, doubter, extra=("--cluster", "auto")) == 0
