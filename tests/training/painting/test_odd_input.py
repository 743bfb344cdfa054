"""Bad or unusual input to ``synthesize``, ``audit`` and ``recombine``: a sentence, status 1, and nothing else lost."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from attention_dmfnet.files.image_io import ImageError, write_labels
from attention_dmfnet.geometry import Volume

from tests.training.bodies import anatomy
from tests.training.painting.test_audit import adult
from tests.training.patients import box, patient
from tests.training.raw_anatomy import write_raw_anatomy
from training.__main__ import main
from training.errors import TrainingError
from training.painting import body_building, recombine_command
from training.painting.anatomy import Anatomy, read_organ_map
from training.painting.audit import Finding
from training.painting.bodies import (
    COURSES,
    HELD_OUT,
    DamagedBodyError,
    load,
    organ_maps,
    read_atlas,
    read_body,
    save_body,
)
from training.painting.body_building import _Job, _Template, build
from training.painting.body_library import open_library, write_library
from training.painting.completion import Body
from training.painting.course_file import prepare_courses
from training.painting.tissue import NO_HU, Tissue
from training.painting.vessel_courses import CourseAtlas, frame_of, make_atlas


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_raw_anatomy(tmp_path / "raw")
    return tmp_path / "raw"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The map is read, and what is completed is any adult; in this process, so that this holds."""

    def completed(job: _Job, template: _Template, courses: CourseAtlas) -> tuple[Body, list[Finding]]:
        body_building._scan_of(job, template)
        if job.source is not None:
            read_organ_map(job.source)
        tissues = adult()
        return Body(job.path.stem, tissues, np.full(tissues.shape, NO_HU, np.int16)), []

    monkeypatch.setattr(body_building, "_completed", completed)
    monkeypatch.setattr(body_building, "ProcessPoolExecutor", InThisProcess)
    monkeypatch.setattr("training.painting.course_file.ProcessPoolExecutor", InThisProcess)


class InThisProcess:
    def __init__(self, workers: int) -> None:
        assert workers >= 1

    def __enter__(self) -> "InThisProcess":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def map(self, function, items, chunksize: int = 1):  # type: ignore[no-untyped-def]
        return map(function, items)


def run(*arguments: str | Path) -> int:
    return main([str(argument) for argument in arguments])


def write_map(data: Path, name: str, vessels: bool = True, scale: float = 1.0, without: Tissue | None = None) -> Path:
    made = anatomy(name, whole=False, vessels=vessels, scale=scale)
    tissues = np.where((made.tissues < 14) & (made.tissues != (without or 0)), made.tissues, 0).astype(np.uint8)
    path = data / "anatomy" / f"{name}.nii.gz"
    write_labels(Volume(tissues, made.volume.geometry), path)
    return path


@pytest.mark.usefixtures("quick")
def test_bad_maps_are_listed_and_cost_no_other(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = write_map(data, "mypatient_1")
    (data / "anatomy" / "cut_1.nii.gz").write_bytes(whole.read_bytes()[:200])
    (data / "anatomy" / "odd_1.nii.gz").write_bytes(write_map(data, "odd_1", without=Tissue.LIVER).read_bytes()[:-9])
    to = tmp_path / "bodies"
    assert run("synthesize", data, "--to", to, "--workers", "1") == 1
    told = capsys.readouterr().err
    assert told.count("cut_1.nii.gz") == told.count("odd_1.nii.gz") == 1
    assert "Traceback" not in told
    assert {path.stem[:-2] for path in to.glob("*_[01].npz")} == {
        "amos_0013", "totalseg_s0327", "ts_example", "mypatient_1",
    }  # fmt: skip


@pytest.mark.usefixtures("quick")
def test_a_bad_scan_is_told_and_the_next_one_stands_in(data: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels"
    labels.mkdir()
    shutil.copy(data / "ct" / "TS-example_0000.nii.gz", data / "ct" / "a_0000.nii.gz")
    (labels / "a.nii.gz").write_bytes(b"no map")
    built = build(data, tmp_path / "bodies", 1, labels)
    assert len(built.paths) == 5
    # whichever map was given that scan first has its body from TS-example
    assert len(built.problems) == 1
    assert "a.nii.gz" in built.problems[0]


@pytest.mark.usefixtures("quick")
def test_a_damaged_body_is_completed_anew(data: Path, tmp_path: Path) -> None:
    to = tmp_path / "bodies"
    assert run("synthesize", data, "--to", to, "--workers", "1") == 0
    path = to / "amos_0013_0.npz"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DamagedBodyError):
        read_body(path)
    assert run("synthesize", data, "--to", to, "--workers", "1") == 0
    assert read_body(path).tissues.shape == adult().shape


@pytest.mark.usefixtures("quick")
def test_bodies_that_fail_do_not_count_as_bodies_to_train_on(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    tissues = adult()
    to = tmp_path / "bodies"
    to.mkdir()
    prepare_courses(organ_maps(data), to, 1)
    bad = Body("amos_0013_0", tissues, np.full(tissues.shape, NO_HU, np.int16))
    save_body(bad, to / "amos_0013_0.npz", ("liver: volume 12 mL",))
    assert run("synthesize", data, "--to", to, "--workers", "1") == 0
    assert f"{to}: 4 bodies to train on, 0 held out" in caplog.messages
    assert any("1 more fail the audit and are not painted from: amos_0013_0" in line for line in caplog.messages)


@pytest.mark.usefixtures("quick")
def test_courses_are_learned_anew_when_maps_were_added_changed_or_taken_away(data: Path, tmp_path: Path) -> None:
    def names() -> set[str]:
        prepare_courses(organ_maps(data), tmp_path, 1)
        return set(read_atlas(tmp_path).names)

    assert names() == {"amos_0013", "totalseg_s0327"}
    before = (tmp_path / COURSES).stat().st_mtime_ns
    assert names() == {"amos_0013", "totalseg_s0327"}
    assert (tmp_path / COURSES).stat().st_mtime_ns == before
    added = write_map(data, "mypatient_1")
    assert names() == {"amos_0013", "totalseg_s0327", "mypatient_1"}
    write_map(data, "mypatient_1", vessels=False)
    assert names() == {"amos_0013", "totalseg_s0327"}
    added.unlink()
    write_map(data, HELD_OUT[4])
    assert names() == {"amos_0013", "totalseg_s0327"}
    (tmp_path / COURSES).write_bytes(b"PK")
    assert names() == {"amos_0013", "totalseg_s0327"}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("aortas", [0, 1])
def test_fewer_than_two_aortas_are_refused_before_any_body_is_completed(
    aortas: int, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_map(data, "amos_0013", vessels=False)
    if not aortas:
        write_map(data, "totalseg_s0327", vessels=False)
    to = tmp_path / "bodies"
    for _ in range(2):
        assert run("synthesize", data, "--to", to, "--workers", "1") == 1
        assert "shows an aorta" in capsys.readouterr().err
        assert not list(to.iterdir())
    write_map(data, "amos_0013")
    write_map(data, "totalseg_s0327")
    assert run("synthesize", data, "--to", to, "--workers", "1") == 0


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--scan-labels", "nosuch"], "nosuch is no folder"),
        (["--scan-labels", "."], "holds no label map of a scan"),
        (["--workers", "0"], "--workers 0 is too few"),
        (["--rows", "0"], "--rows 0 is too few"),
        (["--count", "0"], "--count 0 is too few"),
        (["--count", "-1"], "--count -1 is too few"),
        (["--sheet", "s.foo"], "names no kind of picture"),
        (["--to", "file"], "is a file; name a folder"),
        (["--to", "file/below"], "lies below the file"),
        (["--scans", "scans"], "no held-out maps.*--anatomy training"),
    ],
)
def test_what_cannot_be_asked_of_synthesize_is_refused_before_any_work(
    more: list[str], sentence: str, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(data)
    (data / "file").write_text("")
    before = sorted(data.rglob("*"))
    assert run("synthesize", data, "--to", "bodies", *more) == 1
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1
    assert re.search(sentence, told)
    assert sorted(data.rglob("*")) == before


def test_without_templates_nothing_is_completed(data: Path, tmp_path: Path) -> None:
    (data / "anatomy" / "icrp110_af.nii.gz").unlink()
    with pytest.raises(TrainingError, match=r"icrp110_af\.nii\.gz is missing"):
        build(data, tmp_path / "bodies")


@pytest.fixture
def bodies(tmp_path: Path) -> Path:
    folder = tmp_path / "bodies"
    folder.mkdir()
    for name in ("word_0014_0", "word_0016_0"):
        save_body(patient(name), folder / f"{name}.npz")
    return folder


@pytest.mark.parametrize("how", ["cut", "foreign", "map"])
def test_a_damaged_body_is_named_and_the_others_are_audited(
    how: str, bodies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = bodies / "word_0016_0.npz"
    if how == "cut":
        path.write_bytes(path.read_bytes()[:3000])
    elif how == "foreign":
        np.savez(path, picture=np.zeros(3))
    else:
        path.write_bytes(b"\x1f\x8bno body")
    assert run("audit", bodies) == 1
    told = capsys.readouterr()
    assert f"{path} holds no whole body" in told.err
    assert "synthesize DATA --to" in told.err
    assert "of 1 bodies pass" in told.out
    assert run("recombine", bodies, "--to", bodies.parent / "library") == 1
    assert f"{path} holds no whole body" in capsys.readouterr().err
    assert not (bodies.parent / "library").exists()
    with pytest.raises(DamagedBodyError):
        load(bodies)


def test_a_library_with_a_damaged_body_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_library([patient("word_0014_0"), patient("word_0016_0")], tmp_path)
    path = tmp_path / "word_0016_0.tissues.npy"
    path.write_bytes(path.read_bytes()[:5000])
    assert run("audit", tmp_path) == 1
    told = capsys.readouterr()
    assert "word_0016_0.tissues.npy" in told.err
    assert "recombine BODIES --to" in told.err
    assert "word: 0 of 1 bodies pass" in told.out
    with pytest.raises(TrainingError, match="holds no whole body"):
        open_library(tmp_path)[1]


def test_an_expert_map_that_cannot_be_read_costs_no_audit(
    bodies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = tmp_path / "cut.nii.gz"
    cut.write_bytes(b"\x1f\x8b")
    assert run("audit", bodies, "--against", tmp_path / "nosuch.nii.gz", cut) == 1
    told = capsys.readouterr()
    assert "nosuch.nii.gz" in told.err
    assert "cut.nii.gz" in told.err
    assert "of 2 bodies pass" in told.out


def test_a_library_of_other_bodies_is_neither_mixed_nor_overwritten(
    bodies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(recombine_command, "passes_audit", lambda body: True)
    monkeypatch.setattr(recombine_command, "load", lambda folder, seed: [read_body(p) for p in folder.glob("*.npz")])
    to = tmp_path / "library"
    again = ("recombine", bodies, "--to", to, "--count", "0", "--workers", "1")
    assert run(*again) == 0
    # more bodies may join
    save_body(patient("word_0017_0"), bodies / "word_0017_0.npz")
    assert run(*again) == 0
    before = {path.name: path.read_bytes() for path in to.iterdir()}
    other = tmp_path / "other"
    other.mkdir()
    for name in ("word_0014_0", "word_0016_0", "word_0017_0"):
        changes = {Tissue.DUODENUM: box(18, 26, 40, 52, 56, 64)} if name == "word_0016_0" else {}
        save_body(patient(name, changes), other / f"{name}.npz")
    assert run("recombine", other, "--to", to, "--count", "0", "--workers", "1") == 1
    assert f"the library {to} was made of other bodies (word_0016_0 differs" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in to.iterdir()} == before
    (to / "made_of.json").unlink()
    assert run(*again) == 1
    assert "does not tell which bodies it was made of" in capsys.readouterr().err


def test_two_scans_of_one_patient_are_not_recombined_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, to = tmp_path / "bodies", tmp_path / "library"
    folder.mkdir()
    for name in ("word_0019_0", "word_0033_0"):
        save_body(patient(name), folder / f"{name}.npz")
    monkeypatch.setattr(recombine_command, "load", lambda folder, seed: [read_body(p) for p in folder.glob("*.npz")])
    assert run("recombine", folder, "--to", to, "--count", "2", "--workers", "1") == 1
    assert "holds no two patients to recombine, only word_0019, word_0033" in capsys.readouterr().err
    assert not to.exists()
    (tmp_path / "file").write_text("")
    assert run("recombine", folder, "--to", tmp_path / "file" / "library") == 1
    assert "lies below the file" in capsys.readouterr().err


def test_bodies_without_held_out_ones_say_so(bodies: Path) -> None:
    with pytest.raises(TrainingError, match=r"no held-out bodies in .*--anatomy training"):
        load(bodies, held_out=True)


@pytest.mark.filterwarnings("error")
def test_an_atlas_of_few_maps_without_a_spleen_expects_a_course_without_a_warning() -> None:
    def bare(name: str, scale: float) -> Anatomy:
        made = anatomy(name, whole=False, vessels=True, scale=scale)
        tissues = np.where(made.tissues == Tissue.SPLEEN, 0, made.tissues)
        return replace(made, volume=Volume(tissues, made.volume.geometry))

    atlas = make_atlas([bare("a", 1.0), bare("b", 0.9)])
    frame = frame_of(anatomy("c", whole=False, vessels=False))
    assert frame is not None
    assert np.isfinite(atlas.expected(frame, Tissue.AORTA)).all()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (PermissionError(13, "Permission denied", "some/file"), "[Errno 13] Permission denied: 'some/file'"),
        (ImageError("some/map.nii.gz: the file ends too early"), "some/map.nii.gz: the file ends too early"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_sentence(
    error: Exception, told: str, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr("training.painting.synthesize.build", fails)
    assert run("synthesize", data, "--to", data / "bodies") == 1
    assert capsys.readouterr().err == f"python -m training synthesize: {told}\n"
