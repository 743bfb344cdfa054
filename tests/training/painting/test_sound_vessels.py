"""Of several drawings of a body's vessels the first one is kept that the audit passes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.training.painting.test_great_vessels import ATLAS, body, site
from training.painting import body_building
from training.painting.audit import Finding
from training.painting.bodies import finished, read_body, save_body
from training.painting.body_building import with_sound_vessels
from training.painting.completion import Body
from training.painting.tissue import NO_HU
from training.painting.vessel_courses import CourseAtlas


def _finding(organ: str) -> Finding:
    return Finding(organ, "volume", 1.0, (2.0, 3.0), "mL")


def _body() -> Body:
    tissues = body()
    return Body("somebody_0", tissues, np.full(tissues.shape, NO_HU, np.int16), vessels=site())


@pytest.mark.parametrize(
    ("faults", "drawing", "left"),
    [
        ({}, 0, 0),
        ({0: ["aorta"], 1: ["inferior vena cava"]}, 2, 0),
        # another drawing does not mend a liver
        ({0: ["liver"]}, 0, 1),
        ({0: ["liver", "aorta"], **{key: ["liver"] for key in range(1, 30)}}, 1, 1),
        # none passes: the one with the fewest faults
        ({**{key: ["aorta", "liver"] for key in range(30)}, 3: ["aorta"]}, 3, 1),
    ],
)
def test_the_first_drawing_without_a_fault_of_the_vessels_is_taken(
    faults: dict[int, list[str]], drawing: int, left: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def audited(body: Body, atlas: CourseAtlas | None) -> list[Finding]:
        return [_finding(organ) for organ in faults.get(body.drawing, [])]

    monkeypatch.setattr(body_building, "audit_body", audited)
    taken, found = with_sound_vessels(_body(), ATLAS)
    assert (taken.drawing, len(found)) == (drawing, left)


def test_where_the_map_shows_that_vessels_end_is_kept_with_the_body(tmp_path: Path) -> None:
    body = _body()
    assert body.vessels is not None
    save_body(replace(body, vessels=replace(body.vessels, ends_mm=(42.0, float("nan")))), tmp_path / "somebody_0.npz")
    kept = read_body(tmp_path / "somebody_0.npz").vessels
    assert kept is not None
    np.testing.assert_array_equal(kept.ends_mm, (42.0, float("nan")))


def test_what_was_audited_is_what_is_painted(tmp_path: Path) -> None:
    first, other = (finished(replace(_body(), drawing=number), ATLAS, 0) for number in (0, 2))
    assert (first.tissues != other.tissues).any()
    path = tmp_path / "somebody_0.npz"
    save_body(replace(_body(), drawing=2), path)
    np.testing.assert_array_equal(finished(read_body(path), ATLAS, 0).tissues, other.tissues)
