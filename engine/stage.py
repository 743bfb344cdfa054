"""One stage of the method: a network, and how a scan is brought before it."""

from dataclasses import dataclass

from engine.geometry import Geometry, Volume
from engine.intensity import normalise
from engine.manifest import Stage
from engine.network import Network, Scores
from engine.resample import resample_linear
from engine.tiles import score_in_tiles


@dataclass(frozen=True, slots=True)
class StageModel:
    """A stage of the manifest and its network."""

    stage: Stage
    network: Network

    def view(self, scan: Volume, grid: Geometry) -> Volume:
        """``scan`` as the network sees it on ``grid``: resampled and normalised, float32."""
        resampled = resample_linear(scan, grid, self.stage.window_hu)
        normal = normalise(resampled.array, self.stage.window_hu, self.stage.mean_hu, self.stage.std_hu)
        return Volume(normal, grid)

    def score(self, view: Volume) -> Scores:
        """Class scores for every voxel of a ``view``, valid until the network is called again."""
        stage = self.stage
        return score_in_tiles(
            view.array, self.network, stage.output.classes, stage.tile_zyx, stage.overlap, outside=stage.air
        )
