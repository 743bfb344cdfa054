"""Variation of real scans: turned, scaled, bent, and with other noise, sharpness, contrast and resolution.

The intensity changes are MONAI's transforms. The spatial ones are one resampling: MONAI's affine grid, bent by a smooth
random field, so that a patch is interpolated once however many of them apply. There are no flips: a mirrored abdomen
has its liver on the left, and the two kidneys and adrenals are told apart by their side alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from attention_dmfnet.geometry import Index
from monai.data.meta_obj import set_track_meta
from monai.transforms.intensity.array import AdjustContrast, GaussianSmooth
from monai.transforms.spatial.array import AffineGrid, Resample
from torch import Tensor

from training.arrays import Hu, Labels
from training.recipe import Augmentation, Grid

# plain tensors: MONAI's own carry an affine that nothing here reads
set_track_meta(False)

_Change = Callable[[Tensor], Tensor]

# nodes of the bending field along an axis: about a hand's width apart in an abdomen
_NODES = 5


@dataclass(frozen=True)
class Plan:
    """What happens to one patch: read ``shape_zyx`` voxels, then ``apply``."""

    shape_zyx: Index
    tile_zyx: Index
    grid: Tensor | None
    changes: tuple[_Change, ...]

    def apply(self, image: Hu, labels: Labels) -> tuple[Hu, Labels]:
        """The tile (HU, labels) from the patch that was read."""
        hu, organs = torch.from_numpy(image)[None], torch.from_numpy(labels)[None]
        if self.grid is not None:
            hu = _resample(hu, self.grid, "bilinear")
            organs = _resample(organs.float(), self.grid, "nearest").to(torch.uint8)
        for change in self.changes:
            hu = change(hu)
        return np.ascontiguousarray(hu[0].numpy()), np.ascontiguousarray(organs[0].numpy())


class Augment:
    """Draws plans for tiles on ``grid``; HU are clipped to ``window_hu`` already."""

    def __init__(self, augmentation: Augmentation, grid: Grid, window_hu: tuple[float, float]) -> None:
        self._how, self._grid, self._window_hu = augmentation, grid, window_hu

    def plan(self, rng: np.random.Generator) -> Plan:
        """Draw everything that is random about one sample."""
        how, tile = self._how, self._grid.tile_zyx
        spatial = rng.uniform() < how.spatial_probability
        elastic = rng.uniform() < how.elastic_probability
        changes = tuple(self._draw_changes(rng))
        if not (spatial or elastic):
            return Plan(tile, tile, None, changes)
        grid = self._draw_grid(spatial, elastic, rng)
        # so much around the tile that what is turned in at its corners has been read
        reach = [math.ceil(float(along.abs().max())) + 1 for along in grid]
        shape = tuple(max(side, 2 * most) for side, most in zip(tile, reach, strict=True))
        return Plan((shape[0], shape[1], shape[2]), tile, grid, changes)

    def _draw_grid(self, spatial: bool, elastic: bool, rng: np.random.Generator) -> Tensor:
        """(3, z, y, x) where in the patch, in voxels from its middle, each voxel of the tile is taken from."""
        how, spacing = self._how, np.asarray(self._grid.spacing_zyx)
        turn, scale = np.zeros(3), np.ones(3)
        if spatial:
            # MONAI turns about the array's axes in their order: z, y, x
            turn = np.deg2rad([rng.uniform(-most, most) for most in how.rotation_deg_zyx])
            scale = 1 + rng.uniform(-how.scale, how.scale) * np.ones(3) + rng.uniform(-how.scale / 3, how.scale / 3, 3)
        middle = np.asarray([(side - 1) / 2 for side in self._grid.tile_zyx])
        axes = [torch.arange(side) - mid for side, mid in zip(self._grid.tile_zyx, middle, strict=True)]
        mm = torch.stack(torch.meshgrid(*axes, indexing="ij")).float() * _column(spacing)
        # in mm, or a turn would shear what is sampled more coarsely along one axis
        turned, _ = AffineGrid(rotate_params=turn.tolist(), scale_params=scale.tolist())(grid=_homogeneous(mm))
        assert turned is not None
        bent = turned[:3]
        if elastic:
            nodes = rng.uniform(-how.elastic_mm, how.elastic_mm, (1, 3, _NODES, _NODES, _NODES))
            field = torch.from_numpy(nodes.astype(np.float32))
            bent = bent + F.interpolate(field, self._grid.tile_zyx, mode="trilinear", align_corners=True)[0]
        return (bent / _column(spacing)).contiguous()

    def _draw_changes(self, rng: np.random.Generator) -> list[_Change]:
        how, (low, high) = self._how, self._window_hu
        changes: list[_Change] = []
        if rng.uniform() < how.blur_probability:
            changes.append(GaussianSmooth(sigma=tuple(rng.uniform(0.3, 1.0, 3) * how.blur_voxels)))
        if rng.uniform() < how.low_resolution_probability:
            factor = rng.uniform(how.low_resolution, 1.0)
            changes.append(_Coarser((factor, factor, factor)))
        if rng.uniform() < how.anisotropy_probability:
            changes.append(_Coarser((rng.uniform(how.anisotropy, 1.0), 1.0, 1.0)))
        if rng.uniform() < how.gamma_probability:
            changes.append(_Gamma(float(np.exp(rng.uniform(*np.log(how.gamma)))), low, high))
        if rng.uniform() < how.noise_probability:
            changes.append(_Noise(rng.uniform(0, how.noise_hu), int(rng.integers(2**31))))
        return changes


@dataclass(frozen=True)
class _Coarser:
    """Sampled at a share of the resolution along each axis, and interpolated back."""

    factors: tuple[float, float, float]

    def __call__(self, hu: Tensor) -> Tensor:
        shape = hu.shape[1:]
        small = [max(2, round(side * factor)) for side, factor in zip(shape, self.factors, strict=True)]
        coarse = F.interpolate(hu[None], small, mode="area")
        return F.interpolate(coarse, shape, mode="trilinear", align_corners=False)[0]


@dataclass(frozen=True)
class _Gamma:
    """MONAI's contrast curve over the window, so that the same HU stay the same wherever in the scan they are."""

    gamma: float
    low_hu: float
    high_hu: float

    def __call__(self, hu: Tensor) -> Tensor:
        width = self.high_hu - self.low_hu
        # AdjustContrast stretches between the darkest and the brightest voxel: two more voxels pin them
        pinned = torch.cat([((hu - self.low_hu) / width).clamp(0, 1).flatten(), torch.tensor([0.0, 1.0])])
        curved = AdjustContrast(self.gamma)(pinned)[:-2]
        return torch.as_tensor(curved).view(hu.shape) * width + self.low_hu


@dataclass(frozen=True)
class _Noise:
    """Gaussian noise of its own seed: a sample must not depend on the process that draws it."""

    sigma_hu: float
    seed: int

    def __call__(self, hu: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        return hu + self.sigma_hu * torch.randn(hu.shape, generator=generator)


def _resample(patch: Tensor, grid: Tensor, mode: str) -> Tensor:
    return torch.as_tensor(Resample(mode=mode, padding_mode="border")(patch, grid=_homogeneous(grid)))


def _homogeneous(grid: Tensor) -> Tensor:
    return torch.cat([grid, torch.ones_like(grid[:1])])


def _column(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32)).view(3, 1, 1, 1)
