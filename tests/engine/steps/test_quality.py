"""Organs that no adult has: a box for each organ where it is in a body, then one thing wrong at a time."""

from dataclasses import replace

import pytest
from attention_dmfnet.adult_volumes import ADULT_VOLUMES
from attention_dmfnet.geometry import CANONICAL_AXES_LPS, Box, Geometry, Triple
from attention_dmfnet.steps.components import Kept
from attention_dmfnet.steps.quality import judge

SCAN = Geometry((100, 100, 100), (4.0, 4.0, 4.0), (-200.0, -200.0, 0.0), CANONICAL_AXES_LPS)
ROI = Box((10, 10, 10), (90, 90, 90))

# centres (z, y, x) in the ROI, as a body has them: z to the head, y to the back, x to the left
CENTRES: dict[str, Triple] = {
    "liver": (50, 35, 20),
    "right kidney": (40, 50, 25),
    "left kidney": (42, 50, 55),
    "spleen": (52, 45, 62),
    "pancreas": (44, 38, 42),
    "aorta": (40, 48, 41),
    "inferior vena cava": (40, 46, 36),
    "right adrenal gland": (48, 46, 30),
    "left adrenal gland": (50, 46, 50),
    "gallbladder": (42, 30, 26),
    "esophagus": (62, 44, 42),
    "stomach": (52, 34, 52),
    "duodenum": (38, 38, 32),
}
POSSIBLE_ML = {organ: known.possible_ml for organ, known in ADULT_VOLUMES.items()}
VOLUMES = {organ: (low + high) / 2 for organ, (low, high) in POSSIBLE_ML.items()}


def _kept(centre: Triple, **changes: object) -> Kept:
    z, y, x = (int(index) for index in centre)
    box = Box((z - 5, y - 5, x - 5), (z + 5, y + 5, x + 5))
    return replace(Kept(1000, centre, box), **changes)  # type: ignore[arg-type]


BODY = {organ: _kept(centre) for organ, centre in CENTRES.items()}


def _codes(
    body: dict[str, Kept] | None = None, volumes: dict[str, float] | None = None, roi: Box = ROI, scan: Geometry = SCAN
) -> list[str]:
    return [note.code for note in judge(BODY if body is None else body, volumes or VOLUMES, roi, scan)]


def _moved(body: dict[str, Kept], axis: int) -> dict[str, Kept]:
    """Mirrored along one axis of the ROI."""
    moved = {}
    for organ, kept in body.items():
        centre = list(kept.centre_zyx)
        centre[axis] = 79 - centre[axis]
        moved[organ] = _kept((centre[0], centre[1], centre[2]))
    return moved


def test_a_body_as_it_should_be_gets_no_note() -> None:
    assert _codes() == []


@pytest.mark.parametrize("organ", POSSIBLE_ML)
@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_volume_that_no_adult_has_is_noted_by_organ(organ: str, factor: float) -> None:
    volume = POSSIBLE_ML[organ][0] * factor if factor < 1 else POSSIBLE_ML[organ][1] * factor
    (note,) = judge(BODY, {**VOLUMES, organ: volume}, ROI, SCAN)
    assert note.code == "organ-volume"
    assert note.startswith(f"{organ} of {volume:.3g} mL; adults have")


def test_volumes_of_the_reports_are_noted() -> None:
    # liver of 34 mL, 3,970 mL and 7,592 mL
    assert [_codes(volumes={**VOLUMES, "liver": ml}) for ml in (34, 3970, 7592)] == [["organ-volume"]] * 3


def test_most_volumes_wrong_is_said_once() -> None:
    assert _codes(volumes={organ: volume / 1000 for organ, volume in VOLUMES.items()}) == ["not-an-adult"]


@pytest.mark.parametrize("organ", [organ for organ in POSSIBLE_ML if organ != "liver"])
def test_an_organ_that_is_missing_beside_a_whole_liver_is_noted(organ: str) -> None:
    rest = {other: kept for other, kept in BODY.items() if other != organ}
    (note,) = judge(rest, {**VOLUMES, organ: 0.0}, ROI, SCAN)
    assert note.code == "organ-missing"
    assert organ in note


def test_what_a_cut_liver_hides_is_not_missing() -> None:
    rest = {organ: kept for organ, kept in BODY.items() if organ != "esophagus"}
    rest["liver"] = _kept(CENTRES["liver"], box=Box((30, 10, 10), (80, 40, 40)))
    volumes = {**VOLUMES, "esophagus": 0.0}
    assert _codes(rest, volumes, Box((10, 10, 10), (90, 90, 90)), SCAN.crop(Box((0, 0, 0), (90, 100, 100)))) == [
        "organ-cut"
    ]


@pytest.mark.parametrize("found", [0, 1, 4])
def test_hardly_any_organ_is_not_an_abdomen(found: int) -> None:
    organs = dict(list(BODY.items())[:found])
    volumes = {organ: VOLUMES[organ] if organ in organs else 0.0 for organ in VOLUMES}
    (note,) = judge(organs, volumes, ROI, SCAN)
    assert note.code == "not-an-abdomen"
    assert note.startswith(f"only {found} of 13 organs")


@pytest.mark.parametrize(
    ("axis", "low", "side"),
    [
        (0, True, "inferior"),
        (0, False, "superior"),
        (1, True, "anterior"),
        (1, False, "posterior"),
        (2, True, "right"),
        (2, False, "left"),
    ],
)
def test_an_organ_at_the_scans_edge_is_a_part(axis: int, low: bool, side: str) -> None:
    start, stop = [45, 30, 15], [55, 40, 25]
    (start if low else stop)[axis] = 0 if low else 80
    body = {**BODY, "liver": _kept(CENTRES["liver"], box=Box(tuple(start), tuple(stop)))}  # type: ignore[arg-type]
    scan = Geometry((80, 80, 80), SCAN.spacing_zyx, SCAN.origin_lps, SCAN.axes_lps)
    # a part may be small
    (note,) = judge(body, {**VOLUMES, "liver": 100.0}, Box((0, 0, 0), (80, 80, 80)), scan)
    assert note.code == "organ-cut"
    assert note.startswith(f"liver reaches the scan's {side} edge")


@pytest.mark.parametrize("organ", ["aorta", "inferior vena cava", "esophagus"])
def test_what_runs_through_every_scan_is_not_called_cut(organ: str) -> None:
    _, y, x = (int(index) for index in CENTRES[organ])
    body = {**BODY, organ: _kept(CENTRES[organ], box=Box((0, y - 5, x - 5), (80, y + 5, x + 5)))}
    scan = Geometry((80, 80, 80), SCAN.spacing_zyx, SCAN.origin_lps, SCAN.axes_lps)
    assert _codes(body, None, Box((0, 0, 0), (80, 80, 80)), scan) == []


@pytest.mark.parametrize(
    ("axis", "code"), [(2, "sides-exchanged"), (1, "front-and-back-exchanged"), (0, "upside-down")]
)
def test_a_mirrored_body_is_noted_by_the_axis(axis: int, code: str) -> None:
    assert _codes(_moved(BODY, axis)) == [code]


def test_liver_and_spleen_alone_tell_exchanged_sides() -> None:
    organs = ("liver", "spleen", "aorta", "stomach", "duodenum")
    body = _moved({organ: BODY[organ] for organ in organs}, 2)
    assert "sides-exchanged" in _codes(body)


def test_liver_and_one_kidney_alone_tell_head_from_feet() -> None:
    organs = ("liver", "left kidney", "aorta", "stomach", "duodenum")
    body = _moved({organ: BODY[organ] for organ in organs}, 0)
    assert "upside-down" in _codes(body)


def test_parts_are_noted() -> None:
    assert _codes({**BODY, "liver": _kept(CENTRES["liver"], large_parts=2)}) == ["organ-in-parts"]
