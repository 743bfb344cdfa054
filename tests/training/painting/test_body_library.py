"""Claims about the folder of memory-mapped bodies, and the command that fills it."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.training.bodies import body, real_body
from tests.training.painting.test_great_vessels import ATLAS, site
from tests.training.painting.test_great_vessels import body as trunk
from tests.training.patients import box, patient
from training.__main__ import main
from training.errors import TrainingError
from training.painting import recombine_command
from training.painting.bodies import COURSES, HELD_OUT, SAME_PATIENT, load, save_body
from training.painting.body_library import open_library, write_library
from training.painting.completion import Body
from training.painting.painter import Canvas, Painter
from training.painting.recombine_command import _drawn_anew, build_library, draw_pair, patient_of
from training.painting.tissue import NO_HU, Tissue
from training.painting.vessel_courses import CourseAtlas

CANVAS = Canvas((24, 32, 40), (3.0, 2.5, 2.5), (0.0, 0.0, 0.0), 0.0)
ELSEWHERE = {Tissue.DUODENUM: box(18, 26, 40, 52, 56, 64)}


def test_bodies_come_back_as_they_were_written(tmp_path: Path) -> None:
    names = write_library([real_body(), body()], tmp_path)
    library = open_library(tmp_path)
    assert library.names == sorted(names)
    for made in (body(), real_body()):
        back = library[library.names.index(made.name)]
        np.testing.assert_array_equal(back.tissues, made.tissues)
        np.testing.assert_array_equal(back.hu, made.hu)
        assert back.hu.dtype == np.int16


def test_what_a_body_teaches_comes_back_and_of_an_older_library_all_counts_as_taught(tmp_path: Path) -> None:
    write_library([replace(body(), known=frozenset({1, 3, 13})), real_body()], tmp_path)
    assert [made.known for made in open_library(tmp_path)] == [frozenset({1, 3, 13}), frozenset(range(1, 14))]
    for path in tmp_path.glob("*.known.npy"):
        path.unlink()
    assert [made.known for made in open_library(tmp_path)] == [frozenset(range(1, 14))] * 2


def test_only_a_body_with_hu_has_a_file_of_them_and_none_can_be_written_to(tmp_path: Path) -> None:
    write_library([real_body(), body()], tmp_path)
    assert [path.name for path in tmp_path.glob("*.hu.npy")] == ["ts_example_0.hu.npy"]
    for made in open_library(tmp_path):
        with pytest.raises(ValueError, match="read-only"):
            made.tissues[0, 0, 0] = 1
        with pytest.raises(ValueError, match="read-only"):
            made.hu[0, 0, 0] = 1


def test_a_process_is_sent_the_folders_name_and_no_voxel(tmp_path: Path) -> None:
    write_library([real_body(), body()], tmp_path)
    library = open_library(tmp_path)
    assert library[0].tissues.nbytes > 100_000
    sent = pickle.dumps(library)
    assert len(sent) < 1000
    np.testing.assert_array_equal(pickle.loads(sent)[1].tissues, library[1].tissues)


def test_an_empty_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="python -m training recombine"):
        open_library(tmp_path)


def test_what_is_painted_from_a_library_is_what_is_painted_from_memory(tmp_path: Path) -> None:
    write_library([real_body(), body()], tmp_path)
    samples = [
        Painter(bodies, CANVAS).sample(np.random.default_rng(3))
        for bodies in (open_library(tmp_path), [body(), real_body()])
    ]
    np.testing.assert_array_equal(samples[0][0], samples[1][0])
    np.testing.assert_array_equal(samples[0][1], samples[1][1])


@pytest.fixture
def bodies(tmp_path: Path) -> Path:
    folder = tmp_path / "bodies"
    folder.mkdir()
    for name, changes in (
        ("word_0014_0", {}), ("word_0014_1", {}), ("word_0016_0", ELSEWHERE), ("word_0019_0", {}),
        ("word_0033_0", ELSEWHERE), (f"{HELD_OUT[0]}_0", {}), ("ts_example_0", {}),
    ):  # fmt: skip
        made = patient(name, changes)
        save_body(made, folder / f"{name}.npz")
    return folder


def test_a_library_holds_transplants_and_morphs_of_training_patients_only(
    bodies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # bodies of boxes are no anatomy: no audit passes them
    monkeypatch.setattr(recombine_command, "passes_audit", lambda body: True)
    to = tmp_path / "library"
    assert main(["recombine", str(bodies), "--to", str(to), "--count", "8", "--workers", "1"]) == 0
    names = open_library(to).names
    made = [name for name in names if "=" in name]
    assert len(names) - len(made) == 6  # the held-out one is not there
    assert sum(name.startswith("mixed") for name in made) == 8
    assert sum(name.startswith("morphed") for name in made) == 2
    assert not any(held_out in name for held_out in HELD_OUT for name in names)
    assert not any("ts_example" in name for name in made)
    for name in made:
        one, other = name.split("=")[1].replace("~", "+").split("+")
        assert patient_of(one) != patient_of(other)
        assert {patient_of(one), patient_of(other)} not in map(set, SAME_PATIENT)
    # again: nothing is made anew, and another number of workers draws the same pairs
    assert main(["recombine", str(bodies), "--to", str(to), "--count", "8", "--workers", "1"]) == 0
    assert open_library(to).names == names
    build_library(bodies, tmp_path / "again", 8, seed=1, workers=2)
    assert open_library(tmp_path / "again").names == names


def test_each_recombined_body_has_its_own_drawing_of_the_vessels_and_another_seed_another_library(
    bodies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []

    def drawn(bare: Body, atlas: CourseAtlas | None, seed: int) -> Body:
        seeds.append(seed)
        return bare

    loaded: list[int] = []

    def loads(folder: Path, seed: int) -> list[Body]:
        loaded.append(seed)
        return load(folder)

    monkeypatch.setattr(recombine_command, "finished", drawn)
    monkeypatch.setattr(recombine_command, "load", loads)
    build_library(bodies, tmp_path / "library", 4, seed=6, workers=1)
    assert len(set(seeds)) == len(seeds) >= 5
    assert 0 not in seeds
    assert loaded == [6]


def test_a_receiver_drawn_anew_has_other_vessels_at_its_own_place(tmp_path: Path) -> None:
    ATLAS.save(tmp_path / COURSES)
    tissues = trunk()
    path = tmp_path / "word_0014_0.npz"
    save_body(Body(path.stem, tissues, np.full(tissues.shape, NO_HU, np.int16), vessels=site()), path)
    one, other = (_drawn_anew(path, np.random.default_rng(seed)).tissues for seed in (0, 1))
    assert (one == Tissue.AORTA).any()
    assert ((one == Tissue.AORTA) != (other == Tissue.AORTA)).any()
    np.testing.assert_array_equal(one == Tissue.LEFT_KIDNEY, other == Tissue.LEFT_KIDNEY)


def _nothing(made: Body) -> bool:
    return False


def test_what_an_audit_refuses_is_not_kept(bodies: Path, tmp_path: Path) -> None:
    library = build_library(bodies, tmp_path / "library", 1, seed=1, workers=1, accept=_nothing)
    assert len(library) == 6


def test_pairs_are_of_different_patients() -> None:
    names = [f"word_{number}_{variant}" for number in ("0017", "0019", "0033", "0131", "0050") for variant in (0, 1)]
    seen = set()
    for seed in range(300):
        one, other = draw_pair(names, np.random.default_rng(seed))
        patients = frozenset({patient_of(one), patient_of(other)})
        assert len(patients) == 2
        assert patients not in map(frozenset, SAME_PATIENT)
        seen.add(patients)
    assert len(seen) == 8  # ten pairs of five names, less the two that are one patient


def test_one_patient_cannot_be_recombined(bodies: Path, tmp_path: Path) -> None:
    for path in bodies.glob("*.npz"):
        if not path.name.startswith("word_0014"):
            path.unlink()
    with pytest.raises(TrainingError, match="takes two"):
        build_library(bodies, tmp_path / "library", 2, seed=1, workers=1)
