import numpy as np
import pytest
from attention_dmfnet.geometry import CANONICAL_AXES_LPS, Geometry, Volume
from attention_dmfnet.model.network import Scores, Tile
from attention_dmfnet.steps.stage import Plan

from tests.engine.tiny import FakeNetwork, stage
from training.pseudo.reliability import RecordingStage, agreements, mean_probabilities, softmax


def test_probabilities_are_those_of_the_scores() -> None:
    scores = np.log(np.array([1.0, 2.0, 5.0], np.float32)).reshape(3, 1, 1, 1) + 100
    np.testing.assert_allclose(softmax(scores).ravel(), [1 / 8, 2 / 8, 5 / 8], rtol=1e-4)


def test_an_organ_has_the_mean_of_its_own_probability_over_its_own_voxels() -> None:
    grid = Geometry((1, 1, 4), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), CANONICAL_AXES_LPS)
    labels = Volume(np.array([[[0, 1, 1, 2]]], np.uint8), grid)
    probabilities = np.zeros((3, 1, 1, 4), np.float32)
    probabilities[1, 0, 0] = [0.9, 0.6, 0.8, 0.1]
    probabilities[2, 0, 0] = [0.0, 0.3, 0.1, 0.5]
    assert mean_probabilities(labels, grid, probabilities) == pytest.approx({1: 0.7, 2: 0.5})


def test_labels_in_any_orientation_meet_the_probabilities_of_their_own_place() -> None:
    # the scan runs from left to right, the network's grid from right to left and twice as coarsely
    scan = Geometry((1, 1, 4), (1.0, 1.0, 1.0), (3.0, 0.0, 0.0), ((0, 0, 1), (0, 1, 0), (-1, 0, 0)))
    labels = Volume(np.array([[[1, 1, 0, 0]]], np.uint8), scan)
    grid = Geometry((1, 1, 2), (1.0, 1.0, 2.0), (0.5, 0.0, 0.0), CANONICAL_AXES_LPS)
    probabilities = np.array([[0.8, 0.3], [0.2, 0.7]], np.float32).reshape(2, 1, 1, 2)
    assert mean_probabilities(labels, grid, probabilities) == pytest.approx({1: 0.7})


def test_an_organ_between_the_networks_voxels_is_not_trusted() -> None:
    scan = Geometry((1, 1, 4), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), CANONICAL_AXES_LPS)
    labels = Volume(np.array([[[0, 1, 0, 0]]], np.uint8), scan)
    grid = Geometry((1, 1, 2), (1.0, 1.0, 3.0), (0.0, 0.0, 0.0), CANONICAL_AXES_LPS)
    assert mean_probabilities(labels, grid, np.full((2, 1, 1, 2), 0.5, np.float32)) == {1: 0.0}


def test_agreement_is_the_mean_dsc_with_the_other_teachers() -> None:
    first = np.array([1, 1, 1, 2], np.uint8)
    second = np.array([1, 1, 1, 0], np.uint8)
    third = np.array([1, 0, 0, 2], np.uint8)
    # label 1: 1 and 2 * 1 / (3 + 1); label 2: 0 and 1
    assert agreements(first, [second, third]) == {1: 0.75, 2: 0.5}
    assert agreements(first, []) == {1: None, 2: None}


def test_a_recording_stage_scores_as_any_stage_and_keeps_the_last_view() -> None:
    scores = np.zeros((14, 8, 16, 16), np.float32)
    scores[3] = np.log(13)

    def network(tile: Tile) -> Scores:
        return scores

    recording = RecordingStage(stage(), FakeNetwork(network))
    geometry = Geometry((4, 16, 16), (3.0, 2.0, 2.0), (0.0, 0.0, 0.0), CANONICAL_AXES_LPS)
    for _ in range(2):
        seen = recording.score(Volume(np.zeros((4, 16, 16), np.float32), geometry), Plan(geometry, (8, 16, 16)))
    np.testing.assert_array_equal(seen, scores[:, 2:6])
    assert len(recording.recorded) == 1
    grid, probabilities = recording.recorded[0]
    assert grid == geometry
    np.testing.assert_allclose(probabilities[3], 0.5, rtol=1e-5)
