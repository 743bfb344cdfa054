"""Claims about where samples come from, and how real ones are varied."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from msgspec.structs import replace

from tests.training.bodies import body, real_body
from tests.training.spheres import recipe
from training.data.augment import Augment
from training.learning.source import (
    DatasetSource,
    MixedSource,
    PaintedSource,
    Sample,
    SourceError,
    open_bodies,
    open_sources,
)
from training.painting.bodies import load, save_body
from training.painting.completion import Body
from training.painting.painter import Canvas, Painter
from training.recipe import Augmentation, Grid, Recipe, load_recipe

OFF = Augmentation(0, elastic_probability=0, noise_probability=0, blur_probability=0, gamma_probability=0,
                   low_resolution_probability=0, anisotropy_probability=0)  # fmt: skip
GRID = Grid((3.0, 2.0, 2.0), (32, 32, 32))
WINDOW = (-200.0, 300.0)


def only(**changes: Any) -> Augmentation:
    return replace(OFF, **changes)


def patch(shape: tuple[int, ...]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """HU that name their voxel, and labels in octants."""
    rng = np.random.default_rng(0)
    labels = np.indices(shape).transpose(1, 2, 3, 0) >= np.array(shape) // 2
    return rng.uniform(-150, 250, shape).astype(np.float32), (labels @ [4, 2, 1]).astype(np.uint8)


def test_without_variation_a_patch_is_the_tile_as_read() -> None:
    plan = Augment(OFF, GRID, WINDOW).plan(np.random.default_rng(0))
    image, labels = patch(plan.shape_zyx)
    assert plan.shape_zyx == GRID.tile_zyx
    varied, organs = plan.apply(image, labels)
    np.testing.assert_array_equal(varied, image)
    np.testing.assert_array_equal(organs, labels)


def test_a_turn_by_nothing_is_the_middle_of_what_was_read() -> None:
    how = only(spatial_probability=1, rotation_deg_zyx=(0, 0, 0), scale=0)
    plan = Augment(how, GRID, WINDOW).plan(np.random.default_rng(0))
    image, labels = patch(plan.shape_zyx)
    varied, organs = plan.apply(image, labels)
    middle = tuple(slice((n - t) // 2, (n - t) // 2 + t) for n, t in zip(image.shape, GRID.tile_zyx, strict=True))
    np.testing.assert_allclose(varied, image[middle], atol=1e-3)
    np.testing.assert_array_equal(organs, labels[middle])


def test_a_turn_about_z_keeps_slices_and_sides_in_mm() -> None:
    # voxels are 3 x 2 x 4 mm: a ball stays a ball in mm
    grid = Grid((3.0, 2.0, 4.0), (32, 48, 32))
    how = only(spatial_probability=1, rotation_deg_zyx=(40, 0, 0), scale=0)
    plan = Augment(how, grid, WINDOW).plan(np.random.default_rng(3))
    z, y, x = (np.arange(n) - (n - 1) / 2 for n in plan.shape_zyx)
    mm = np.stack(np.meshgrid(z * 3, y * 2, x * 4, indexing="ij"))
    ball = ((mm**2).sum(0) < 25**2).astype(np.uint8)
    _, turned = plan.apply(np.zeros(ball.shape, np.float32), ball)
    assert np.count_nonzero(turned) == pytest.approx(np.count_nonzero(ball), rel=0.03)
    spread = np.argwhere(turned).std(0) * grid.spacing_zyx
    np.testing.assert_allclose(spread, spread.mean(), rtol=0.05)


def test_the_left_side_stays_left_however_a_patch_is_varied() -> None:
    how = Augmentation(1, elastic_probability=1, noise_probability=1, blur_probability=1, gamma_probability=1,
                       low_resolution_probability=1, anisotropy_probability=1)  # fmt: skip
    for seed in range(8):
        plan = Augment(how, GRID, WINDOW).plan(np.random.default_rng(seed))
        image = np.zeros(plan.shape_zyx, np.float32)
        labels = np.zeros(plan.shape_zyx, np.uint8)
        half = plan.shape_zyx[2] // 2
        labels[..., :half], labels[..., half:] = 2, 13
        _, organs = plan.apply(image, labels)
        right, left = (np.argwhere(organs == label)[:, 2].mean() for label in (2, 13))
        assert right + 10 < left


def test_the_image_is_bent_like_its_labels() -> None:
    how = only(spatial_probability=1, elastic_probability=1)
    plan = Augment(how, GRID, WINDOW).plan(np.random.default_rng(5))
    _, labels = patch(plan.shape_zyx)
    image, organs = plan.apply(labels.astype(np.float32), labels)
    # interpolated between two labels at their borders only
    assert (np.abs(image - organs) < 0.5).mean() > 0.9
    assert set(np.unique(organs)) <= set(range(8))


def test_noise_and_contrast_leave_labels_and_window_ends_alone() -> None:
    plan = Augment(only(gamma_probability=1), GRID, WINDOW).plan(np.random.default_rng(0))
    ends = np.full(GRID.tile_zyx, -200, np.float32)
    ends[0] = 300
    varied, _ = plan.apply(ends, np.zeros(GRID.tile_zyx, np.uint8))
    np.testing.assert_allclose(varied, ends, atol=0.01)


def test_thick_slices_smear_along_z_alone() -> None:
    plan = Augment(only(anisotropy_probability=1, anisotropy=0.25), GRID, WINDOW).plan(np.random.default_rng(1))
    image = np.zeros(GRID.tile_zyx, np.float32)
    image[16, :, 16] = 100
    varied, _ = plan.apply(image, np.zeros(GRID.tile_zyx, np.uint8))
    assert np.count_nonzero(np.abs(varied).max((1, 2)) > 1) > 1
    assert np.flatnonzero(np.abs(varied).max((0, 1)) > 1).tolist() == [16]


@dataclass
class FakeCase:
    """A case in memory, 40 x 50 x 60, with one voxel of label 1 and a block of label 2."""

    name: str = "case"
    annotated: frozenset[int] = frozenset({1, 2})
    is_pseudo: bool = False
    weight: float = 1.0
    shape_zyx: tuple[int, int, int] = (40, 50, 60)
    read: list[tuple[Any, Any]] = field(default_factory=list)

    @property
    def labels(self) -> npt.NDArray[np.uint8]:
        labels = np.zeros(self.shape_zyx, np.uint8)
        labels[5, 25, 30] = 1
        labels[20:24, 20:24, 20:24] = 2
        return labels

    @property
    def class_locations(self) -> dict[int, npt.NDArray[np.int16]]:
        return {label: np.argwhere(self.labels == label).astype(np.int16) for label in (1, 2)}

    def read_patch(self, start: Any, shape: Any) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
        self.read.append((start, shape))
        padded = np.pad(self.labels, 64)
        where = tuple(slice(64 + s, 64 + s + n) for s, n in zip(start, shape, strict=True))
        return padded[where].astype(np.float32), padded[where]


def source(cases: list[FakeCase], how: Recipe) -> DatasetSource:
    return DatasetSource(cases, how, Augment(OFF, how.grid, WINDOW), {})  # type: ignore[arg-type]


def with_sampling(**changes: Any) -> Recipe:
    how = recipe()
    return replace(how, sampling=replace(how.sampling, **changes))


def test_patches_round_organs_hold_them_and_rare_ones_are_as_frequent_as_large_ones() -> None:
    drawn = source([FakeCase()], with_sampling(organ_share=1.0))
    rng = np.random.default_rng(0)
    samples = [drawn.sample(rng) for _ in range(60)]
    with_rare = sum(bool((sample.labels == 1).any()) for sample in samples)
    # half are drawn for the one voxel of label 1; the others may hold it by chance
    assert with_rare > 20
    assert all((sample.labels > 0).any() for sample in samples)


def test_patches_stay_inside_the_case() -> None:
    case = FakeCase()
    drawn = source([case], with_sampling(organ_share=0.5))
    rng = np.random.default_rng(1)
    for _ in range(40):
        drawn.sample(rng)
    for start, shape in case.read:
        assert shape == (32, 32, 32)
        assert all(0 <= s <= size - 32 for s, size in zip(start, case.shape_zyx, strict=True))


def test_a_case_smaller_than_a_tile_is_read_in_the_tiles_middle() -> None:
    case = FakeCase(shape_zyx=(40, 28, 60))
    source([case], with_sampling()).sample(np.random.default_rng(0))
    assert case.read[0][0][1] == -2


def test_pseudo_cases_are_drawn_as_often_as_the_recipe_says() -> None:
    pseudo = FakeCase("pseudo", is_pseudo=True, weight=0.25)
    drawn = source([FakeCase(), pseudo], with_sampling(pseudo_share=0.2))
    rng = np.random.default_rng(0)
    samples = [drawn.sample(rng) for _ in range(300)]
    assert np.mean([sample.is_pseudo for sample in samples]) == pytest.approx(0.2, abs=0.07)
    assert {sample.weight for sample in samples if sample.is_pseudo} == {0.25}


def test_organs_that_a_case_does_not_annotate_travel_with_its_samples() -> None:
    partial = source([FakeCase(annotated=frozenset({2}))], with_sampling(organ_share=1.0))
    assert partial.sample(np.random.default_rng(0)).annotated == frozenset({2})
    assert source([FakeCase()], with_sampling()).sample(np.random.default_rng(0)).annotated is None


def test_no_cases_are_refused() -> None:
    with pytest.raises(SourceError, match="no labelled case is left to train on"):
        source([], recipe())


def test_painted_and_real_samples_are_mixed_as_the_recipe_says() -> None:
    class Constant:
        fingerprint: dict[str, str] = {}  # noqa: RUF012 - never changed

        def __init__(self, value: float) -> None:
            self.value = value

        def sample(self, rng: np.random.Generator) -> Sample:
            return Sample(np.full((1, 1, 1), self.value, np.float32), np.zeros((1, 1, 1), np.uint8))

    mixed = MixedSource(Constant(1), Constant(0), painted_share=0.3)
    rng = np.random.default_rng(0)
    assert np.mean([mixed.sample(rng).image.item() for _ in range(400)]) == pytest.approx(0.3, abs=0.06)


@pytest.fixture
def bodies(tmp_path: Path) -> Path:
    for name, made in (("word_0014_0", body()), ("ts_example_0", real_body()), ("word_0034_0", body())):
        save_body(made, tmp_path / f"{name}.npz")
    return tmp_path


def test_bodies_are_painted_on_the_stages_own_grid(bodies: Path) -> None:
    for name in ("painted-fine", "painted-coarse"):
        how = load_recipe(name, changes=["grid.tile_zyx=[32, 32, 48]"])
        sample = open_bodies(bodies, how).sample(np.random.default_rng(0))
        assert sample.image.shape == sample.labels.shape == (32, 32, 48)
        assert set(np.unique(sample.labels)) <= ({0, 1} if how.stage == "coarse" else set(range(14)))


def test_the_fingerprint_of_bodies_is_of_those_painted(bodies: Path) -> None:
    how = load_recipe("painted-fine", changes=["grid.tile_zyx=[32, 32, 48]"])
    before = open_bodies(bodies, how).fingerprint
    (bodies / "word_0034_0.npz").unlink()  # held out
    assert open_bodies(bodies, how).fingerprint == before
    (bodies / "ts_example_0.npz").unlink()
    assert open_bodies(bodies, how).fingerprint != before


def test_the_runs_seed_draws_the_vessels_of_bodies_to_train_on_and_no_seed_those_that_are_scored(
    bodies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def loads(folder: Path, held_out: bool, seed: int) -> list[Body]:
        asked.append((held_out, seed))
        return load(folder, held_out)

    monkeypatch.setattr("training.painting.bodies.load", loads)
    how = load_recipe("painted-fine", changes=["run.seed=7"])
    for held_out in (False, True):
        open_bodies(bodies, how, held_out)
    assert asked == [(False, 7), (True, 0)]


@pytest.mark.parametrize(("share", "data", "with_bodies", "sentence"), [
    (1.0, [], False, "painted_share 1 needs --bodies"),
    (0.0, [], False, "painted_share 0 needs --data"),
    (0.0, ["x"], True, "painted_share 0 leaves --bodies unused"),
    (1.0, ["x"], True, "painted_share 1 leaves --data unused"),
])  # fmt: skip
def test_sources_that_do_not_fit_the_recipe_are_refused(
    share: float, data: list[str], with_bodies: bool, sentence: str, bodies: Path
) -> None:
    how = load_recipe("small", "fine", [f"sampling.painted_share={share}"])
    with pytest.raises(SourceError, match=sentence):
        open_sources(how, [Path(name) for name in data], bodies if with_bodies else None)


def test_an_empty_folder_of_bodies_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="run `python -m training synthesize"):
        open_bodies(tmp_path, load_recipe("painted-fine"))


@pytest.mark.parametrize(("average", "expected"), [(1, [[[0, 1, 255, 1]]]), (2, [[[1, 255]]])])
def test_what_is_unknown_in_a_painted_scan_is_no_foreground_of_the_coarse_stage(
    average: int, expected: list[list[list[int]]]
) -> None:
    class Unsure:
        def sample(self, _: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
            row = np.array([0, 4, 255, 13] if average == 1 else [4, 4, 255, 255], np.uint8)
            labels = np.broadcast_to(row, (average, average, 4)).copy()
            return np.zeros(labels.shape, np.float32), labels

    recipe = load_recipe("painted-coarse", changes=[f"sampling.painted_average={average}"])
    source = PaintedSource(Unsure(), recipe)  # type: ignore[arg-type]
    assert source.sample(np.random.default_rng(0)).labels.tolist() == expected


class PainterOfNumbers:
    """Paints 1, 2, 3, ... all over, image and labels alike."""

    def __init__(self) -> None:
        self.painted = 0

    def sample(self, _: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        self.painted += 1
        return np.full((8, 8, 8), self.painted, np.float32), np.full((8, 8, 8), self.painted, np.uint8)


def test_mixed_patches_hold_voxels_of_two_samples_and_are_as_frequent_as_asked() -> None:
    rng = np.random.default_rng(0)
    painted: list[set[int]] = []
    how = load_recipe("painted-fine", changes=["sampling.painted_mix_probability=0.3"])
    for _ in range(300):
        sample = PaintedSource(PainterOfNumbers(), how).sample(rng)  # type: ignore[arg-type]
        np.testing.assert_array_equal(sample.image, sample.labels)
        painted.append(set(np.unique(sample.labels).tolist()))
    assert {frozenset(labels) for labels in painted} == {frozenset({1}), frozenset({1, 2})}
    assert painted.count({1, 2}) / 300 == pytest.approx(0.3, abs=0.08)


def test_without_far_and_mixed_patches_a_sample_is_the_painters_own(bodies: Path) -> None:
    never = ["sampling.painted_far_probability=0", "sampling.painted_mix_probability=0", "grid.tile_zyx=[32, 32, 48]"]
    how = load_recipe("painted-fine", changes=never)
    source = open_bodies(bodies, how)
    canvas = Canvas((32, 32, 48), how.grid.spacing_zyx, how.sampling.painted_jitter_mm_zyx, 0.3)
    image, labels = Painter(load(bodies), canvas).sample(np.random.default_rng(2))
    sample = source.sample(np.random.default_rng(2))
    np.testing.assert_array_equal(sample.image, image)
    np.testing.assert_array_equal(sample.labels, labels)


def test_far_and_mixed_patches_are_for_training_and_scored_ones_are_neither(bodies: Path) -> None:
    tile = "grid.tile_zyx=[32, 32, 48]"
    always = ["sampling.painted_far_probability=1", "sampling.painted_mix_probability=1"]
    never = [change.replace("=1", "=0") for change in always]
    drawn = [
        open_bodies(bodies, load_recipe("painted-fine", changes=[tile, *changes]), held_out).sample(
            np.random.default_rng(0)
        )
        for held_out in (False, True)
        for changes in (always, never)
    ]
    assert (drawn[0].image != drawn[1].image).any()
    np.testing.assert_array_equal(drawn[2].image, drawn[3].image)
    np.testing.assert_array_equal(drawn[2].labels, drawn[3].labels)
