"""In which template body a map is completed, and what becomes of organs that no template makes right."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluation.organs import ORGANS
from tests.training.painting.test_great_vessels import ATLAS, body, site
from training.painting import body_building
from training.painting.audit import Finding
from training.painting.bodies import COURSES, faults_of, read_body
from training.painting.body_building import _build_one, _Job, _Template, least_faulty, without_failed_organs
from training.painting.completion import Body
from training.painting.tissue import NO_HU, Tissue
from training.painting.vessel_courses import CourseAtlas

SCANS = ("first", None, "third", "fourth", "fifth", "sixth", "seventh")


def _faults(*organs: str) -> list[Finding]:
    return [Finding(organ, "volume", 1.0, (2.0, 3.0), "mL") for organ in organs]


def _body(name: str = "somebody_0") -> Body:
    tissues = body()
    return Body(name, tissues, np.full(tissues.shape, NO_HU, np.int16), vessels=site())


def _job(name: str, variant: int, folder: Path = Path()) -> _Job:
    return _Job(Path(), Path(f"{name}.nii.gz"), variant, (), folder, SCANS)


def test_the_first_body_without_a_fault_is_taken_and_no_further_one_is_tried() -> None:
    def tries() -> Iterator[tuple[Body, list[Finding]]]:
        yield _body("two"), _faults("aorta", "liver")
        yield _body("none"), []
        raise AssertionError("tried further")

    taken, found = least_faulty(tries())
    assert (taken.name, found) == ("none", [])


def test_of_bodies_that_all_have_faults_the_first_with_the_fewest_is_taken() -> None:
    tries = [(_body(name), _faults(*["aorta"] * count)) for name, count in (("a", 3), ("b", 1), ("c", 2), ("d", 1))]
    assert least_faulty(tries)[0].name == "b"


def test_a_map_is_tried_in_six_scans_and_in_both_phantoms_but_a_held_out_one_in_its_own_alone() -> None:
    assert [template.scan for template in _job("word_0001", 0).templates()] == list(SCANS[:6])
    assert len({template.sex for template in _job("word_0001", 0).templates()}) == 1
    second = _job("word_0001", 1).templates()
    assert [template.scan for template in second] == [None, None]
    assert sorted(template.sex for template in second) == ["af", "am"]
    for variant in (0, 1):
        assert len(_job("word_0034", variant).templates()) == 1


def test_a_body_with_a_fault_in_one_scan_is_completed_in_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def completed(job: _Job, template: _Template, courses: CourseAtlas) -> tuple[Body, list[Finding]]:
        faults = {"first": _faults("aorta", "liver"), None: _faults("aorta")}.get(template.scan, [])
        made = replace(_body(), tissues=np.full_like(body(), SCANS.index(template.scan)))
        return made, faults

    monkeypatch.setattr(body_building, "_completed", completed)
    ATLAS.save(tmp_path / COURSES)
    path = _build_one(_job("word_0001", 0, tmp_path))
    assert path == tmp_path / "word_0001_0.npz"
    assert faults_of(path) == []
    assert (read_body(path).tissues == SCANS.index("third")).all()


@pytest.mark.parametrize(
    ("faults", "unknown"),
    [
        (["right adrenal gland"], True),
        (["right adrenal gland", "esophagus"], True),
        ([], False),
        # nothing says where the vessels run without them: such a body is not painted from
        (["liver"], False),
        (["right adrenal gland", "left kidney"], False),
        (["aorta"], False),
    ],
)
def test_an_organ_that_is_drawn_wrong_in_the_map_itself_teaches_nothing(
    faults: list[str], unknown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    adrenal = int(Tissue.RIGHT_ADRENAL)
    tissues = body()
    tissues[2:4, 2:4, 2:4] = adrenal
    before = replace(_body(), tissues=tissues)

    def audited(made: Body, atlas: CourseAtlas | None) -> list[Finding]:
        return [one for one in _faults(*faults) if ORGANS.index(one.organ) + 1 in made.known]

    monkeypatch.setattr(body_building, "audit_body", audited)
    after, left = without_failed_organs(before, _faults(*faults), ATLAS)
    assert [one.organ for one in left] == ([] if unknown else faults)
    assert (adrenal in after.known) is not unknown
    assert set(np.unique(after.tissues[2:4, 2:4, 2:4])) == {int(Tissue.UNKNOWN) if unknown else adrenal}
    np.testing.assert_array_equal(np.where(tissues == adrenal, after.tissues, tissues), after.tissues)
