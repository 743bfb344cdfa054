"""The work of a case, counted: no count may grow beyond its ceiling in ``ceilings.json`` without someone saying so.

Counts hold on every machine, seconds do not. The scans' depend on the models: a release with another grid, tile or
ROI needs new ceilings, `python -m tests.engine.test_work` prints what was counted.
"""

import json
import sys
import tempfile
import tracemalloc
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from attention_dmfnet.files.image_io import read_volume, write_labels, write_volume
from attention_dmfnet.model.loading import load_network
from attention_dmfnet.model.manifest import load_manifest
from attention_dmfnet.model.network import Network, Scores, Tile
from attention_dmfnet.model.runtimes import Runtime
from attention_dmfnet.segmenter import segment
from attention_dmfnet.steps.stage import StageModel

from tests.engine.tiny import block_phantom, write_models

ROOT = Path(__file__).parents[2]
CEILINGS = Path(__file__).with_name("ceilings.json")
SCANS = ROOT.parent / "shared" / "data" / "ct"
SCAN_NAMES = ("C3N-00249", "SPL-atlas", "TCGA-09-2043", "TS-example")

Work = dict[str, float]


@dataclass
class Counting:
    """A network that counts its tiles and their voxels."""

    network: Network
    tiles: int = 0
    voxels: int = 0

    def __call__(self, tile: Tile) -> Scores:
        self.tiles += 1
        self.voxels += tile.size
        return self.network(tile)


def _work(scan: Path, models: Path, folder: Path) -> Work:
    """What reading, labelling and writing ``scan`` takes; NumPy and Python allocate what is counted as memory."""
    manifest = load_manifest(models)
    runtime = Runtime("openvino", "cpu", threads=1)
    coarse = Counting(load_network(models, manifest.coarse, runtime))
    deep = Counting(load_network(models, manifest.fine, runtime))
    tracemalloc.start()
    ct = read_volume(scan)
    result = segment(ct, StageModel(manifest.coarse, coarse), StageModel(manifest.fine, deep), manifest)
    write_labels(result.labels, folder / "labels.nii.gz")
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    roi_voxels = np.prod(result.roi.shape_zyx)
    return {
        "coarse tiles": coarse.tiles,
        "coarse voxels": coarse.voxels,
        "fine tiles": deep.tiles,
        "fine voxels": deep.voxels,
        "restored voxels": round(float(roi_voxels)),
        "peak MiB": round(peak_bytes / 2**20, 1),
    }


def _phantom_work(folder: Path) -> Work:
    # larger than a tile of either stage along each axis
    write_models(folder / "models")
    write_volume(block_phantom((60, 72, 80))[0], folder / "scan.nii.gz")
    return _work(folder / "scan.nii.gz", folder / "models", folder)


def _scan_work(name: str, folder: Path) -> Work:
    """With both networks: what the fine one finds decides whether the ROI is widened, as TCGA-09-2043's is."""
    return _work(SCANS / f"{name}_0000.nii.gz", ROOT / "models", folder)


def _within(work: Work, name: str) -> None:
    ceilings: Work = json.loads(CEILINGS.read_text())[name]
    assert work.keys() == ceilings.keys()
    assert [what for what in work if work[what] > ceilings[what]] == [], work


def test_the_phantom_takes_no_more_work_than_its_ceiling(tmp_path: Path) -> None:
    _within(_phantom_work(tmp_path), "phantom")


@pytest.mark.skipif(not SCANS.is_dir(), reason=f"no real scans in {SCANS}")
@pytest.mark.parametrize("name", SCAN_NAMES)
def test_a_real_scan_takes_no_more_work_than_its_ceiling(name: str, tmp_path: Path) -> None:
    _within(_scan_work(name, tmp_path), name)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        counted = {"phantom": _phantom_work(Path(temporary))}
        counted |= {name: _scan_work(name, Path(temporary)) for name in SCAN_NAMES}
    json.dump(counted, sys.stdout, indent=2)
