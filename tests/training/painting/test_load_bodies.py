"""The gate: which bodies are painted from, and which drawing of their vessels."""

import logging
import re
from pathlib import Path

import numpy as np
import pytest

from tests.training.painting.test_audit import adult
from tests.training.painting.test_great_vessels import ATLAS, site
from tests.training.painting.test_great_vessels import body as trunk
from training.painting import audit_stamp, bodies, body_building
from training.painting.anatomy import TissueMap
from training.painting.bodies import COURSES, HELD_OUT, audit_body, faults_of, finished, load, read_body, save_body
from training.painting.body_building import _build_one, _Job
from training.painting.completion import Body
from training.painting.tissue import NO_HU, Tissue

GOOD, BAD = adult(), adult({Tissue.VENA_CAVA: (25, 109, 70, 78, 66, 75)})


def save(folder: Path, name: str, tissues: TissueMap, faults: tuple[str, ...] = ()) -> Path:
    path = folder / f"{name}.npz"
    save_body(Body(name, tissues, np.full(tissues.shape, NO_HU, np.int16)), path, faults)
    return path


def without(path: Path, *fields: str, **others: str) -> None:
    """The file as an earlier release left it: without some ``fields``, others being different."""
    with np.load(path) as arrays:
        kept = {name: arrays[name] for name in arrays if name not in fields}
    np.savez_compressed(path, **(kept | {name: np.array(value) for name, value in others.items()}))


def names(folder: Path, **how: bool) -> list[str]:
    return [body.name for body in load(folder, **how)]


def test_a_body_that_failed_when_it_was_built_is_not_painted_from(tmp_path: Path) -> None:
    save(tmp_path, "word_0014_0", GOOD)
    save(tmp_path, "word_0016_0", GOOD, ("liver: volume 12 mL",))
    assert names(tmp_path) == ["word_0014_0"]


@pytest.mark.parametrize("missing", [("faults",), ("audited_by",), ("faults", "audited_by")])
def test_a_file_that_says_nothing_of_an_audit_is_audited(
    missing: tuple[str, ...], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for name, tissues in (("word_0014_0", GOOD), ("word_0016_0", BAD)):
        without(save(tmp_path, name, tissues), *missing)
    assert names(tmp_path) == ["word_0014_0"]
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}: 2 of 2 bodies audited anew: their files hold no audit by this release",
        f"{tmp_path}: 1 of 2 bodies fail the audit: word_0016_0",
    ]


def test_what_another_audit_found_is_not_trusted_either_way(tmp_path: Path) -> None:
    without(save(tmp_path, "word_0014_0", BAD), audited_by="another")
    without(save(tmp_path, "word_0016_0", GOOD, ("liver: volume 12 mL",)), audited_by="another")
    assert names(tmp_path) == ["word_0016_0"]


def test_todays_audit_of_a_body_is_not_made_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, "word_0014_0", GOOD)

    def audited(made: Body) -> bool:
        raise AssertionError(f"{made.name} was audited again")

    monkeypatch.setattr(bodies, "_passes", audited)
    assert names(tmp_path) == ["word_0014_0"]


def test_a_folder_in_which_all_bodies_fail_says_so(tmp_path: Path) -> None:
    save(tmp_path, "word_0014_0", GOOD, ("liver: volume 12 mL",))
    with pytest.raises(FileNotFoundError, match=r"all bodies in .* fail the audit; `python -m training audit"):
        load(tmp_path)


def test_held_out_bodies_are_scored_whatever_the_audit_finds(tmp_path: Path) -> None:
    save(tmp_path, f"{HELD_OUT[0]}_0", BAD, ("inferior vena cava: top",))
    assert names(tmp_path, held_out=True) == [f"{HELD_OUT[0]}_0"]


def test_the_stamp_changes_with_the_limits_the_drawing_and_the_courses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = {path.name for path in audit_stamp.SOURCES}
    assert hashed >= {"adult_volumes.py", "audit_limits.py", "audit_checks.py", "great_vessels.py", "bodies.py"}
    copies = []
    for path in audit_stamp.SOURCES:
        copies.append(tmp_path / path.name)
        copies[-1].write_bytes(path.read_bytes())
    before = audit_stamp.audit_stamp(tmp_path / COURSES)
    monkeypatch.setattr(audit_stamp, "SOURCES", tuple(copies))
    assert audit_stamp.audit_stamp(tmp_path / COURSES) == before
    seen = {before}
    limits = tmp_path / "audit_limits.py"
    limits.write_text(limits.read_text().replace('"the liver\'s top", (-6, 60)', '"the liver\'s top", (-6, 61)'))
    seen.add(audit_stamp.audit_stamp(tmp_path / COURSES))
    (tmp_path / COURSES).write_bytes(b"courses")
    seen.add(audit_stamp.audit_stamp(tmp_path / COURSES))
    (tmp_path / COURSES).write_bytes(b"others")
    seen.add(audit_stamp.audit_stamp(tmp_path / COURSES))
    assert len(seen) == 4


def bare(name: str = "somebody_0", drawing: int = 0) -> Body:
    """A body whose vessels are drawn when it is loaded."""
    tissues = trunk()
    return Body(name, tissues, np.full(tissues.shape, NO_HU, np.int16), vessels=site(), drawing=drawing)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ATLAS.save(tmp_path / COURSES)
    save_body(bare(drawing=3), tmp_path / "somebody_0.npz")
    return tmp_path


def test_another_seed_draws_other_vessels_if_they_pass(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audited = []

    def passes(made: Body) -> bool:
        audited.append(made.tissues)
        return True

    monkeypatch.setattr(bodies, "_passes", passes)
    drawn = [load(folder, seed=seed)[0].tissues for seed in (0, 7, 8)]
    np.testing.assert_array_equal(drawn[0], finished(bare(drawing=3), ATLAS, 0).tissues)
    assert (drawn[1] != drawn[0]).any()
    assert (drawn[2] != drawn[1]).any()
    # each new drawing is audited as it is painted
    assert len(audited) == 2
    for seen, painted in zip(audited, drawn[1:], strict=True):
        np.testing.assert_array_equal(seen, painted)


def test_where_a_new_drawing_fails_the_one_that_passed_is_taken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "_passes", lambda made: False)
    built = finished(bare(drawing=3), ATLAS, 0).tissues
    np.testing.assert_array_equal(load(folder, seed=7)[0].tissues, built)
    # of which nothing is known if its file holds no audit
    without(folder / "somebody_0.npz", "audited_by")
    with pytest.raises(FileNotFoundError, match="fail the audit"):
        load(folder, seed=7)
    monkeypatch.setattr(bodies, "_passes", lambda made: np.array_equal(made.tissues, built))
    np.testing.assert_array_equal(load(folder, seed=7)[0].tissues, built)


def job(name: str, folder: Path) -> _Job:
    return _Job(Path(), Path(f"{name}.nii.gz"), 0, None, folder)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which a body that is completed is called completed."""
    ATLAS.save(tmp_path / COURSES)
    monkeypatch.setattr(body_building, "_completed", lambda job, *_: (Body(job.name, GOOD + 0, GOOD.astype("i2")), []))
    return tmp_path


def test_bodies_that_are_there_stay_only_if_they_pass_todays_audit(cache: Path) -> None:
    good, bad = save(cache, "word_0014_0", GOOD), save(cache, "word_0016_0", BAD)
    for path in (good, bad):
        _build_one(job(path.stem[:-2], cache))
        assert (read_body(path).hu == NO_HU).all()  # today's audit is trusted
        without(path, audited_by="another")
        _build_one(job(path.stem[:-2], cache))
        assert faults_of(path) == []
    assert (read_body(good).hu == NO_HU).all()
    assert not audit_body(read_body(good), None)
    # the other one was completed anew
    assert not (read_body(bad).hu == NO_HU).any()
    np.testing.assert_array_equal(read_body(bad).tissues, GOOD)


def test_a_held_out_body_stays_and_is_told_its_faults(cache: Path) -> None:
    path = save(cache, f"{HELD_OUT[0]}_0", BAD)
    without(path, "audited_by", "faults")
    _build_one(job(HELD_OUT[0], cache))
    assert (read_body(path).hu == NO_HU).all()
    (fault,) = faults_of(path) or []
    assert fault.startswith("inferior vena cava: top above the liver's top")


def test_the_stamp_is_of_all_code_that_draws_or_audits_a_body() -> None:
    """All modules of the painter that ``bodies`` imports, directly or not."""
    found, left = set[str](), {"bodies"}
    while left:
        found |= left
        code = "".join((audit_stamp.HERE / f"{name}.py").read_text() for name in left)
        left = set(re.findall(r"^from training\.painting\.(\w+) import", code, re.MULTILINE)) - found
    assert {path.stem for path in audit_stamp.SOURCES} == found - {"audit_stamp"} | {"adult_volumes"}
