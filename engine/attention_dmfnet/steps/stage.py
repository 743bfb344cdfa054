"""One stage of the method: a network, and how a scan is brought before it."""

from dataclasses import dataclass

from attention_dmfnet.geometry import Box, Geometry, Index, Volume
from attention_dmfnet.model.manifest import Stage
from attention_dmfnet.model.network import Network, Scores
from attention_dmfnet.steps.intensity import normalise
from attention_dmfnet.steps.resample import resample_linear
from attention_dmfnet.steps.roi import working_grid
from attention_dmfnet.steps.tiles import fitted_tile, score_in_tiles


@dataclass(frozen=True, slots=True)
class Plan:
    """Where a stage looks at a scan: the working ``grid``, and the size in voxels of the tiles that cover it."""

    grid: Geometry
    tile_zyx: Index


@dataclass(frozen=True, slots=True)
class StageModel:
    """A stage of the manifest and its network."""

    stage: Stage
    network: Network

    def plan(self, scan: Geometry, box: Box | None = None) -> Plan:
        """How to look at ``box`` of a canonical ``scan``, or at all of it: at a box as ``working_grid`` says."""
        spacing_zyx = self.stage.spacing_zyx
        bare = scan.with_spacing(spacing_zyx) if box is None else working_grid(box, scan, spacing_zyx, (1, 1, 1))
        tile_zyx = self._tile_zyx(bare.shape_zyx)
        return Plan(bare if box is None else working_grid(box, scan, spacing_zyx, tile_zyx), tile_zyx)

    def view(self, scan: Volume, grid: Geometry) -> Volume:
        """``scan`` as the network sees it on ``grid``: resampled and normalised, float32."""
        resampled = resample_linear(scan, grid, self.stage.window_hu)
        normal = normalise(resampled.array, self.stage.window_hu, self.stage.mean_hu, self.stage.std_hu)
        return Volume(normal, grid)

    def score(self, view: Volume, plan: Plan) -> Scores:
        """Class scores for a ``view``, on ``score_grid``; valid until the network is called again."""
        stage = self.stage
        classes, stride = stage.output.classes, stage.output.stride
        return score_in_tiles(view.array, self.network, classes, plan.tile_zyx, stage.overlap, stage.air, stride)

    def score_grid(self, grid: Geometry) -> Geometry:
        """Where the scores of a view on ``grid`` lie; the last along an axis may stand out beyond it."""
        stride = self.stage.output.stride
        z, y, x = (-(-size // stride) for size in grid.shape_zyx)
        dz, dy, dx = (mm * stride for mm in grid.spacing_zyx)
        first = (stride - 1) / 2
        return Geometry((z, y, x), (dz, dy, dx), grid.point_lps((first, first, first)), grid.axes_lps)

    def _tile_zyx(self, shape_zyx: Index) -> Index:
        stage = self.stage
        if stage.tile_multiple is None:
            return stage.tile_zyx
        return fitted_tile(shape_zyx, stage.tile_zyx, stage.tile_multiple, stage.overlap)
