"""``python -m training loader``: what one worker that draws samples of real scans costs, in time and in memory.

With ``--cases`` of made-up small cases in place of a prepared data set, the memory of thousands can be measured where
they are not at hand: each has as many places of organs as a real case, and little else.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from attention_dmfnet.geometry import CANONICAL_AXES_LPS, Geometry, Volume

from training.data.dataset import IMAGE_NAME, LABELS_NAME, PLACES_NAME, Case
from training.data.stage_arrays import write_case
from training.errors import TrainingError
from training.recipe import STAGES, Recipe, load_recipe

_SHAPE_ZYX = (48, 80, 96)
_PLACES = 4000
"""Voxels of each organ of a made-up case: as many as are kept of a large one."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of ``loader``."""
    parser.add_argument("--recipe", default="flare22", help="whose tile and augmentation; default: flare22")
    parser.add_argument("--stage", choices=STAGES, default="fine", help="default: fine")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], dest="changes", help="as for fit")
    parser.add_argument("--data", metavar="DATASET", type=Path, nargs="+", help="prepared")
    parser.add_argument("--cases", type=int, help="instead of --data: so many made-up cases")
    parser.add_argument("--to", metavar="DIR", type=Path, help="where made-up cases are written")
    parser.add_argument("--samples", type=int, default=100, help="that are drawn; default: 100")


def loader(options: argparse.Namespace) -> int:
    """Print a line of JSON for each tenth of the samples; returns the exit status."""
    if (options.data is None) is (options.cases is None) or (options.cases is None) is not (options.to is None):
        raise TrainingError("name either --data, or --cases and --to: which samples are drawn")
    recipe = load_recipe(options.recipe, options.stage, options.changes)
    import torch

    from training.learning.source import DatasetSource, open_datasets

    torch.set_num_threads(1)  # as in a worker
    if options.data is not None:
        source, _ = open_datasets(options.data, recipe)
    else:
        from training.data.augment import Augment

        augment = Augment(recipe.augmentation, recipe.grid, recipe.intensity.window_hu)
        source = DatasetSource(list(_made_up(options.to, options.cases, recipe)), recipe, augment, {})
    source.sample(np.random.default_rng(0))  # what is imported late is imported now
    began, spent = resident_mib(), 0.0
    for number in range(1, options.samples + 1):
        before = time.process_time()
        source.sample(np.random.default_rng((1, number)))
        spent += time.process_time() - before
        if number % max(options.samples // 10, 1) == 0:
            row = {"samples": number, "cases": len(source.cases), "mib": resident_mib() - began}
            print(json.dumps(row | {"samples_a_minute_of_a_core": round(60 * number / spent, 1)}), flush=True)
    return 0


def resident_mib() -> int:
    """MiB of this process that are its own: pages of files that are mapped belong to the system's cache."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("RssAnon"))) // 1024


def _made_up(folder: Path, count: int, recipe: Recipe) -> Iterator[Case]:
    """Cases of thirteen slabs of noise. Their files are links to one case's: only their number matters."""
    rng = np.random.default_rng(0)
    labels = np.zeros(_SHAPE_ZYX, np.uint8)
    # whole organs, one after the other, in as many voxels as are kept of each
    flat = labels.reshape(-1)
    for label in range(1, recipe.network.classes):
        flat[label * _PLACES : (label + 1) * _PLACES] = label
    image = rng.integers(-100, 200, _SHAPE_ZYX).astype(np.int16)
    geometry = Geometry(_SHAPE_ZYX, recipe.grid.spacing_zyx, (0.0, 0.0, 0.0), CANONICAL_AXES_LPS)
    first = folder / "case-00000"
    write_case(first, "", Volume(image, geometry), Volume(labels, geometry))
    drawn = frozenset(range(1, recipe.network.classes))
    low = round(recipe.intensity.window_hu[0])
    for number in range(count):
        case = folder / f"case-{number:05}"
        if number:
            case.mkdir(exist_ok=True)
            for name in (IMAGE_NAME, LABELS_NAME, PLACES_NAME):
                if not (case / name).exists():
                    os.link(first / name, case / name)
        yield Case(case, case.name, case.name, drawn, False, 1.0, geometry, low)
