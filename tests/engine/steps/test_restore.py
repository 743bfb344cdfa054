import gc
import threading
import time
import weakref
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from attention_dmfnet.geometry import CANONICAL_AXES_LPS, Box, Geometry, GeometryError, Index, Triple
from attention_dmfnet.model.network import Scores
from attention_dmfnet.steps import restore
from attention_dmfnet.steps.restore import restore_labels
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

TIE = 1e-4
"""Scores that differ by less may come out in either order: float32 rounds them at different steps."""


def _grid(shape: Index, spacing: Triple = (1.0, 1.0, 1.0), origin: Triple = (0.0, 0.0, 0.0)) -> Geometry:
    return Geometry(shape, spacing, origin, CANONICAL_AXES_LPS)


def _interpolated(scores: Scores, grid: Geometry, target: Geometry) -> npt.NDArray[np.float64]:
    """The plain way, all classes at the target's resolution: SciPy's own linear interpolation of every class."""
    first = grid.index_zyx(target.origin_lps)
    axes = [
        first[axis] + np.arange(target.shape_zyx[axis]) * target.spacing_zyx[axis] / grid.spacing_zyx[axis]
        for axis in range(3)
    ]
    points = np.stack(np.meshgrid(*axes, indexing="ij"))
    return np.stack([ndimage.map_coordinates(c.astype(np.float64), points, order=1, mode="nearest") for c in scores])


def _assert_same_but_for_ties(scores: Scores, grid: Geometry, target: Geometry) -> None:
    labels = restore_labels(scores, grid, target)
    plain = _interpolated(scores, grid, target)
    assert labels.shape == target.shape_zyx
    assert labels.dtype == np.uint8
    second, first = np.sort(plain, axis=0)[-2:]
    clear = first - second > TIE
    np.testing.assert_array_equal(labels[clear], plain.argmax(axis=0)[clear])
    # a near tie is still between the two best, never a third class
    chosen = np.take_along_axis(plain, labels[None].astype(np.intp), axis=0)[0]
    assert (first - chosen <= TIE).all()


def _smooth_scores(classes: int, shape: Index, seed: int) -> Scores:
    """Scores with regions of one class and borders between them, as a network makes them."""
    noise = np.random.default_rng(seed).normal(size=(classes, *shape))
    smooth: Scores = (10 * ndimage.gaussian_filter(noise, (0, 1.5, 1.5, 1.5))).astype(np.float32)
    return smooth


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    classes=st.integers(2, 14),
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    target_shape=st.tuples(*[st.integers(1, 15)] * 3),
    spacing=st.tuples(*[st.floats(0.2, 3.0)] * 3),
    origin=st.tuples(*[st.floats(-4.0, 8.0)] * 3),
    smooth=st.booleans(),
)
def test_labels_are_the_argmax_of_interpolated_scores(
    seed: int, classes: int, shape: Index, target_shape: Index, spacing: Triple, origin: Triple, smooth: bool
) -> None:
    if smooth:
        scores = _smooth_scores(classes, shape, seed)
    else:
        scores = np.random.default_rng(seed).normal(size=(classes, *shape)).astype(np.float32)
    _assert_same_but_for_ties(scores, _grid(shape), _grid(target_shape, spacing, origin))


def test_a_whole_organ_map_agrees_with_the_plain_way_at_a_scans_resolution() -> None:
    grid = _grid((20, 24, 28), (3.0, 2.5, 2.5))
    target = grid.with_spacing((2.0, 0.9, 0.9)).crop(Box((1, 2, 3), (29, 60, 70)))
    _assert_same_but_for_ties(_smooth_scores(14, grid.shape_zyx, 1), grid, target)


def test_a_class_that_is_best_nowhere_on_the_grid_may_win_in_between() -> None:
    # class 1 falls and class 2 rises; class 0 is second at both ends and best in the middle (0.9 against 0.5)
    scores = np.array([0.9, 0.9, 1.0, 0.0, 0.0, 1.0], dtype=np.float32).reshape(3, 1, 1, 2)
    target = _grid((1, 1, 3), (1.0, 1.0, 0.5))
    assert restore_labels(scores, _grid((1, 1, 2)), target).tolist() == [[[1, 0, 2]]]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_border_lies_where_the_two_scores_cross(axis: int) -> None:
    # along the axis the difference goes from +3 to -1: it crosses zero at three quarters of the way
    shape = [1, 1, 1]
    shape[axis] = 2
    scores = np.array([3, 0, 0, 1], dtype=np.float32).reshape(2, *shape)
    fine_shape, spacing = [1, 1, 1], [1.0, 1.0, 1.0]
    fine_shape[axis], spacing[axis] = 11, 0.1
    target = _grid((fine_shape[0], fine_shape[1], fine_shape[2]), (spacing[0], spacing[1], spacing[2]))
    labels = restore_labels(scores, _grid((shape[0], shape[1], shape[2])), target)
    assert labels.ravel().tolist() == [0] * 8 + [1] * 3


def test_on_the_grid_itself_the_labels_are_the_argmax() -> None:
    scores = _smooth_scores(14, (6, 7, 8), 0)
    np.testing.assert_array_equal(restore_labels(scores, _grid((6, 7, 8)), _grid((6, 7, 8))), scores.argmax(axis=0))


def test_beyond_the_grid_the_edge_goes_on() -> None:
    scores = np.array([1, 0, 0, 1], dtype=np.float32).reshape(2, 1, 1, 2)
    assert restore_labels(scores, _grid((1, 1, 2)), _grid((1, 1, 6), origin=(-2.0, 0.0, 0.0))).tolist() == [
        [[0, 0, 0, 1, 1, 1]]
    ]


def test_of_equal_scores_the_lower_class_wins() -> None:
    scores = np.zeros((3, 2, 2, 2), dtype=np.float32)
    assert (restore_labels(scores, _grid((2, 2, 2)), _grid((4, 4, 4), (0.5, 0.5, 0.5))) == 0).all()


def test_the_scores_are_left_as_they_were() -> None:
    scores = _smooth_scores(3, (4, 4, 4), 0)
    before = scores.copy()
    restore_labels(scores, _grid((4, 4, 4)), _grid((9, 9, 9), (0.4, 0.4, 0.4)))
    np.testing.assert_array_equal(scores, before)


def test_scores_off_their_grid_or_other_axes_are_refused() -> None:
    scores = np.zeros((2, 4, 4, 4), dtype=np.float32)
    with pytest.raises(GeometryError, match="do not lie on a grid"):
        restore_labels(scores, _grid((4, 4, 5)), _grid((4, 4, 4)))
    turned = Geometry((4, 4, 4), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), ((0, 0, 1), (1, 0, 0), (0, 1, 0)))
    with pytest.raises(GeometryError, match="axes"):
        restore_labels(scores, _grid((4, 4, 4)), turned)


@pytest.mark.parametrize("threads", [2, 3, 40])
def test_several_threads_make_the_same_labels_of_every_slice(threads: int) -> None:
    scores = _smooth_scores(5, (6, 7, 8), seed=3)
    grid, target = _grid((6, 7, 8)), _grid((31, 9, 11), (0.17, 0.7, 0.7))
    alone = restore_labels(scores, grid, target, threads=1)
    assert len(np.unique(alone)) == 5
    np.testing.assert_array_equal(restore_labels(scores, grid, target, threads), alone)


def test_what_goes_wrong_on_another_thread_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = restore._label_slice

    def fail_aside(*given: Any, **named: Any) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise MemoryError("no room")
        whole(*given, **named)

    monkeypatch.setattr(restore, "_label_slice", fail_aside)
    with pytest.raises(MemoryError, match="no room"):
        restore_labels(_smooth_scores(3, (4, 4, 4), 0), _grid((4, 4, 4)), _grid((4, 4, 4)), threads=2)


@pytest.mark.parametrize("fails", ["here", "aside"])
def test_an_error_keeps_no_scores_in_memory_and_leaves_no_thread_computing(
    fails: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Held by the error's traceback in a circle, they would stay until somebody looks for garbage."""
    ended: list[str] = []

    def fail(*given: Any, **named: Any) -> None:
        here = threading.current_thread() is threading.main_thread()
        if here == (fails == "here"):
            raise MemoryError("no room")
        time.sleep(0.05)
        ended.append("other")

    monkeypatch.setattr(restore, "_label_slice", fail)
    scores = _smooth_scores(3, (4, 4, 4), 0)
    held = weakref.ref(scores)
    gc.disable()
    try:
        with pytest.raises(MemoryError) as raised:
            restore_labels(scores, _grid((4, 4, 4)), _grid((4, 4, 4)), threads=2)
        assert ended == ["other"] * 2
        del scores, raised
        # the other thread is on its way out
        until_s = time.monotonic() + 600
        while held() is not None and time.monotonic() < until_s:
            time.sleep(0.01)
        assert held() is None
    finally:
        gc.enable()
