"""Claims about bodies on their way to another patient's build."""

import numpy as np
import pytest

from tests.training.patients import BOXES, SHAPE, box, patient, shifted
from training.painting.completion import Body
from training.painting.frames import jacobian_determinants, landmarks_of, node_places
from training.painting.morph import _unfolded, morph
from training.painting.tissue import Tissue


def test_no_step_of_the_way_changes_nothing() -> None:
    other = patient("word_0002_0", {Tissue.LIVER: box(24, 52, 25, 55, 16, 48)})
    made = morph(patient(), other, 0.0)
    assert made is not None
    np.testing.assert_array_equal(made.tissues, patient().tissues)


def test_the_same_build_elsewhere_on_the_grid_changes_nothing() -> None:
    made = morph(patient(), shifted(patient(), (2, 3, -4)), 0.5)
    assert made is not None
    np.testing.assert_array_equal(made.tissues, patient().tissues)


def test_organs_go_the_asked_share_of_the_way() -> None:
    lower = patient("word_0002_0", {Tissue.SPLEEN: box(22, 38, 45, 65, 92, 106)})
    made = morph(patient(), lower, 0.5)
    assert made is not None
    way = {}
    for name, body in (("from", patient()), ("to", lower), ("made", made)):
        marks = landmarks_of(body.tissues)
        # seen from the liver, as the body itself may shift along
        way[name] = float((marks["SPLEEN centre"] - marks["LIVER centre"])[0])
    share = (way["made"] - way["from"]) / (way["to"] - way["from"])
    assert share == pytest.approx(0.5, abs=0.15)
    assert made.name == "word_0001_0~word_0002_0"


def test_hu_are_carried_along() -> None:
    body = patient()
    body.hu[BOXES[Tissue.SPLEEN]] = 77
    lower = patient("word_0002_0", {Tissue.SPLEEN: box(22, 38, 45, 65, 92, 106)})
    made = morph(body, lower, 0.5)
    assert made is not None
    assert (made.hu == 77).any()
    np.testing.assert_array_equal(made.hu == 77, made.tissues == Tissue.SPLEEN)


def test_no_body_is_folded() -> None:
    places = node_places(SHAPE)
    for seed in range(5):
        wild = places + np.random.default_rng(seed).normal(0, 4, places.shape)
        assert jacobian_determinants(wild).min() <= 0
        bent = _unfolded(wild, SHAPE)
        assert bent is None or jacobian_determinants(bent).min() > 0
    mild = places + np.random.default_rng(9).normal(0, 1.5, places.shape)
    bent = _unfolded(mild, SHAPE)
    assert bent is not None
    assert jacobian_determinants(bent).min() > 0
    assert not np.array_equal(bent, places)


def test_a_body_without_organs_is_no_goal() -> None:
    empty = Body("empty", np.full(SHAPE, Tissue.FAT, np.uint8), np.zeros(SHAPE, np.int16))
    assert morph(patient(), empty, 0.5) is None
