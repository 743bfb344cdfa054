"""The cache of completed bodies: made once from the anatomy folder in a few minutes, read by every training run."""

from __future__ import annotations

import logging
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from training.painting.anatomy import Anatomy, TissueMap, read_icrp, read_organ_map, read_ts_example
from training.painting.completion import BODY_SPACING_ZYX, Body, complete
from training.painting.tissue import Tissue

log = logging.getLogger(__name__)

HELD_OUT = ("word_0034", "word_0043", "word_0110", "word_0124")
"""Never painted for training: what painted validation scans are made of. 0034 and 0043 may be one patient."""

REAL = "ts_example"
"""The one body whose HU are a real scan's throughout, organs included."""

_Job = tuple[Path, Path | None, int, Path]
"""The shared folder, an organ map (None: the TS-example scan itself), a template body's number, the cache."""


def build(data: Path, folder: Path, workers: int = 2) -> list[Path]:
    """Complete every organ map below ``data``/anatomy twice, in two template bodies, and save them in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = [*sorted((data / "anatomy" / "word").glob("*.nii.gz")), data / "anatomy" / "amos_0013.nii.gz"]
    jobs: list[_Job] = [(data, source, variant, folder) for variant in (0, 1) for source in sources]
    jobs.append((data, None, 0, folder))
    with ProcessPoolExecutor(workers) as pool:
        return list(pool.map(_build_one, jobs))


def _build_one(job: _Job) -> Path:
    data, source, variant, folder = job
    abdomen = read_ts_example(data)
    target: Anatomy = abdomen if source is None else read_organ_map(source)
    path = folder / f"{target.name}_{variant}.npz"
    if not path.exists():
        seed = sum(map(ord, target.name)) + variant
        whole = read_icrp(data / "anatomy", ("am", "af")[seed % 2], arms=seed % 5 == 0)
        body = complete(target, abdomen, whole, np.random.default_rng(seed), prefer_abdomen=variant == 0)
        part = path.with_suffix(".part.npz")
        np.savez_compressed(part, tissues=body.tissues, hu=body.hu)
        part.rename(path)
        log.info("completed %s", path.name)
    return path


def load(folder: Path, held_out: bool = False) -> list[Body]:
    """The bodies for training, or the held-out ones.

    Raises ``FileNotFoundError`` if the cache is empty.
    """
    bodies = []
    for path in sorted(folder.glob("*.npz")):
        if path.name.endswith(".part.npz") or path.stem.startswith(HELD_OUT) is not held_out:
            continue
        with np.load(path) as arrays:
            bodies.append(Body(path.stem, _without_chest_vessels(arrays["tissues"]), arrays["hu"]))
    if not bodies:
        raise FileNotFoundError(f"no bodies in {folder}; run `python -m training synthesize --to {folder}` first")
    return bodies


_CHEST_MM = 45.0


def _without_chest_vessels(tissues: TissueMap) -> TissueMap:
    """Aorta and esophagus lose their label more than 45 mm above the liver: the organs searched for are the abdomen's.

    FLARE22 scores both only inside the reference's own range, and a region of interest that followed them to the neck
    would be twice as large.
    """
    top = int(np.flatnonzero((tissues == Tissue.LIVER).any((1, 2)))[-1] + _CHEST_MM / BODY_SPACING_ZYX[0])
    chest = tissues[top:]
    chest[chest == Tissue.AORTA] = Tissue.VESSEL
    chest[chest == Tissue.ESOPHAGUS] = Tissue.SOFT
    return tissues
