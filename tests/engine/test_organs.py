"""The one table of organs: its codes are the standard's, and its colours are apart for any eyes."""

import itertools
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from attention_dmfnet.organs import (
    CATEGORY,
    LEAST_COLOUR_DISTANCE,
    ORGANS,
    SCHEME,
    UNKNOWN_COLOUR,
    Code,
    colour_of,
    find_organ,
)

from evaluation.accuracy.flare22 import ORGAN_CODES
from evaluation.pictures import label_tables

ROOT = Path(__file__).parents[2]

# Machado, Oliveira and Fernandes, IEEE Transactions on Visualization and Computer Graphics 15 (2009), severity 1.0:
# what eyes that lack one kind of cone see, as a matrix for linear red, green and blue
EYES: dict[str, list[list[float]]] = {
    "all three cones": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
# sRGB (IEC 61966-2-1) to CIE XYZ, and the white of D65
_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_WHITE = np.array([0.95047, 1.0, 1.08883])


def _lab(rgb: npt.ArrayLike, eyes: list[list[float]]) -> npt.NDArray[np.float64]:
    """CIELAB of sRGB colours (n, 3) as ``eyes`` see them."""
    srgb = np.asarray(rgb) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    ratio = np.clip(linear @ np.array(eyes).T, 0, 1) @ _XYZ.T / _WHITE
    f = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=-1)


def test_white_black_and_red_are_where_cielab_has_them() -> None:
    np.testing.assert_allclose(
        _lab([(255, 255, 255), (0, 0, 0), (255, 0, 0)], EYES["all three cones"]),
        np.array([(100, 0, 0), (0, 0, 0), (53.24, 80.09, 67.20)]),
        atol=0.02,
    )


@pytest.mark.parametrize("eyes", EYES)
def test_any_two_colours_are_apart(eyes: str) -> None:
    colours = _lab([organ.colour for organ in ORGANS], EYES[eyes])
    distance, nearest = min(
        (float(np.linalg.norm(colours[a] - colours[b])), (ORGANS[a].name, ORGANS[b].name))
        for a, b in itertools.combinations(range(len(ORGANS)), 2)
    )
    assert distance >= LEAST_COLOUR_DISTANCE, nearest


def test_colours_are_none_of_a_cts_greys() -> None:
    chroma = np.linalg.norm(_lab([organ.colour for organ in ORGANS], EYES["all three cones"])[:, 1:], axis=1)
    assert chroma.min() > LEAST_COLOUR_DISTANCE


def test_names_and_numbers_are_those_of_the_release() -> None:
    labels = json.loads((ROOT / "models" / "manifest.json").read_text())["labels"]
    assert {organ.name: organ.number for organ in ORGANS} == labels
    assert [organ.number for organ in ORGANS] == list(range(1, len(ORGAN_CODES) + 1))


def test_codes_are_those_of_the_standards_own_lists() -> None:
    codes = pytest.importorskip("pydicom.sr.codedict", reason="pydicom is not installed").codes

    def known(context: str) -> set[tuple[str, str, str]]:
        group = getattr(codes, context)
        return {(c.scheme_designator, c.value, c.meaning) for c in (getattr(group, name) for name in group.dir())}

    assert (SCHEME, *CATEGORY) in known("CID7150")
    types = known("CID7151")
    assert [organ.name for organ in ORGANS if (SCHEME, *organ.type) not in types] == []
    sides = known("CID244")
    assert [organ.name for organ in ORGANS if organ.side and (SCHEME, *organ.side) not in sides] == []


def test_the_side_is_the_one_in_the_name_and_no_two_organs_have_one_code() -> None:
    for organ in ORGANS:
        side = organ.side.meaning.lower() if organ.side else ""
        assert organ.name == f"{side} {organ.type.meaning.lower()}".strip()
    assert len({(organ.type, organ.side) for organ in ORGANS}) == len(ORGANS)


def test_an_organ_is_found_by_its_name() -> None:
    found = find_organ("left kidney")
    assert found is not None
    assert (found.number, found.type, found.side) == (13, Code("64033007", "Kidney"), Code("7771000", "Left"))
    assert find_organ("Kidney") is None
    assert (colour_of("aorta"), colour_of("heart")) == (ORGANS[4].colour, UNKNOWN_COLOUR)


@pytest.mark.parametrize("name", label_tables.FILES)
def test_the_viewers_files_in_docs_are_those_of_this_table(name: str, tmp_path: Path) -> None:
    label_tables.main(tmp_path)
    assert (tmp_path / name).read_text() == (ROOT / "docs" / "viewers" / name).read_text()
