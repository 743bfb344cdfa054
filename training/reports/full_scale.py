"""``python -m training.reports.full_scale``: what `prepare` and the loader cost with all of FLARE22, from a few scans.

2,050 scans of 512 x 512 voxels are some 60 GB. Made-up ones of that size are prepared instead, as many as there is
room for, and what each costs is multiplied. They are phantoms of coarse voxels, repeated until they have the size, in
noise as strong as a scan's: noise is what files are large by. Costs are in CPU-seconds: a busy machine changes
them little, and cores share them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from attention_dmfnet.files.image_io import write_labels, write_volume
from attention_dmfnet.geometry import Geometry, Index, Volume

from evaluation.phantom import make_phantom, phantom_geometry
from training.errors import TrainingError
from training.recipe import load_recipe

_COARSE_ZYX, _COARSE_MM_ZYX = (50, 128, 128), (6.0, 3.2, 3.2)
_NOISE_HU = 12.0
_LABELLED, _UNLABELLED = 50, 2000
"""Cases of FLARE22."""


@dataclass(frozen=True)
class Cost:
    """Of one command: CPU-seconds of all its processes, and MiB of the largest."""

    cpu_s: float
    mib: int


def main(arguments: list[str] | None = None) -> int:
    """Write scans, prepare them, draw samples; print a line of JSON for each, then what all of FLARE22 costs."""
    parser = argparse.ArgumentParser(prog="python -m training.reports.full_scale", description=__doc__.split("\n")[0])
    parser.add_argument("--to", metavar="DIR", type=Path, required=True, help="gets all: some 40 MB a scan")
    parser.add_argument("--labelled", type=int, default=20, help="scans with labels; default: 20")
    parser.add_argument("--unlabelled", type=int, default=20, help="scans without; default: 20")
    parser.add_argument("--recipe", default="flare22", help="default: flare22")
    parser.add_argument("--samples", type=int, default=100, help="of the fine stage, by the loader; default: 100")
    parser.add_argument(
        "--repeat", type=int, nargs=3, default=(2, 4, 4), help="the phantom's voxels along z, y, x; default: 2 4 4"
    )
    options = parser.parse_args(arguments)
    raw, data = options.to / "raw", options.to / "data"
    labelled, unlabelled = raw / "labelled", raw / "unlabelled"
    repeat: Index = tuple(options.repeat)
    draw = ["loader", "--data", str(data), "--recipe", options.recipe, "--samples", str(options.samples)]
    try:
        for name in ("labelled", "unlabelled", "samples"):
            if getattr(options, name) < 1:
                raise TrainingError(f"--{name} {getattr(options, name)} measures nothing; give 1 or more")
        if raw.exists():
            raise TrainingError(f"{options.to} holds scans already; choose another folder")
        _write(labelled, options.labelled, 1, repeat, with_labels=True)
        prepare = ["prepare", "--to", str(data), "--recipe", options.recipe, "--workers", "1"]
        first = _measured([*prepare, str(raw)], "prepare, labelled scans")
        again = _measured([*prepare, str(raw)], "prepare again, nothing changed")
        _write(unlabelled, options.unlabelled, 1 + options.labelled, repeat, with_labels=False)
        both = _measured([*prepare, str(raw)], "prepare, with unlabelled scans")
        rate = _samples_a_minute(draw)
    except TrainingError as error:
        print(error, file=sys.stderr)
        return 1
    row = {
        "cpu_s_a_labelled_scan": (first.cpu_s - again.cpu_s) / options.labelled,
        "cpu_s_an_unlabelled_scan": (both.cpu_s - again.cpu_s) / options.unlabelled,
        "raw_mb_a_scan": _bytes(raw) / 1e6 / (options.labelled + options.unlabelled),
        "data_set_mb_a_labelled_scan": _bytes(data) / 1e6 / options.labelled,
        "samples_a_minute_of_a_core": rate,
    }
    print(json.dumps({key: round(value, 2) for key, value in (row | _of_flare22(row, options.recipe)).items()}))
    return 0


def _of_flare22(row: dict[str, float], recipe: str) -> dict[str, float]:
    """What all of FLARE22 costs, where a scan costs what is in ``row``."""
    total = _LABELLED + _UNLABELLED
    seconds = _LABELLED * row["cpu_s_a_labelled_scan"] + _UNLABELLED * row["cpu_s_an_unlabelled_scan"]
    fine = load_recipe(recipe, "fine")
    samples = fine.run.steps_per_epoch * fine.run.batch
    minutes = samples / row["samples_a_minute_of_a_core"]
    return {
        "core_hours_prepare_50_and_2000_unlabelled": seconds / 3600,
        "core_hours_prepare_2050_with_labels": total * row["cpu_s_a_labelled_scan"] / 3600,
        "raw_gb_2050": total * row["raw_mb_a_scan"] / 1e3,
        "data_set_gb_2050_with_labels": total * row["data_set_mb_a_labelled_scan"] / 1e3,
        "seconds_an_epoch_by_the_recipes_workers": 60 * minutes / max(fine.sampling.workers, 1),
    }


def make_scan(seed: int, repeat_zyx: Index) -> tuple[Volume, Volume]:
    """CT (int16) and labels (uint8) of a phantom of 300 x 410 x 410 mm: each of its voxels is repeated along z, y, x.

    (2, 4, 4) makes 100 x 512 x 512 of them. The noise is of single voxels.
    """
    ct, labels = make_phantom(phantom_geometry(_COARSE_ZYX, _COARSE_MM_ZYX), seed)
    z, y, x = (mm / times for mm, times in zip(_COARSE_MM_ZYX, repeat_zyx, strict=True))
    shape_z, shape_y, shape_x = (side * times for side, times in zip(_COARSE_ZYX, repeat_zyx, strict=True))
    origin, axes = ct.geometry.origin_lps, ct.geometry.axes_lps
    geometry = Geometry((shape_z, shape_y, shape_x), (z, y, x), origin, axes)
    hu = _repeated(ct.array, repeat_zyx).astype(np.float32)
    hu += _NOISE_HU * np.random.default_rng(seed).standard_normal(hu.shape, np.float32)
    return Volume(np.rint(hu).astype(np.int16), geometry), Volume(_repeated(labels.array, repeat_zyx), geometry)


def _repeated(array: npt.NDArray[np.generic], repeat_zyx: Index) -> npt.NDArray[np.generic]:
    for axis, times in enumerate(repeat_zyx):
        array = array.repeat(times, axis)
    return array


def _write(folder: Path, count: int, first_seed: int, repeat_zyx: Index, with_labels: bool) -> None:
    """So many scans, in FLARE22's layout."""
    images = folder / "images" if with_labels else folder
    for seed in range(first_seed, first_seed + count):
        name = f"FLARE22_Tr_{seed:04d}" if with_labels else f"Case_{seed:05d}"
        path = images / f"{name}_0000.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        ct, labels = make_scan(seed, repeat_zyx)
        if with_labels:
            (folder / "labels").mkdir(exist_ok=True)
            write_labels(labels, folder / "labels" / f"{name}.nii.gz")
        write_volume(ct, path)


def _measured(arguments: list[str], what: str) -> Cost:
    """Run a command of training to its end. Raises ``TrainingError`` if it fails.

    By ``wait4``: the memory of a machine is planned by the largest single process, of which the kernel keeps the peak,
    and what the command prints on standard error stays on the screen.
    """
    process = subprocess.Popen([sys.executable, "-m", "training", *arguments], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise TrainingError(f"{what}: status {process.returncode}; what it printed above says why")
    cost = Cost(used.ru_utime + used.ru_stime, used.ru_maxrss // 1024)
    print(json.dumps({"what": what, "cpu_s": round(cost.cpu_s, 1), "largest_process_mib": cost.mib}), flush=True)
    return cost


def _samples_a_minute(arguments: list[str]) -> float:
    run = subprocess.run([sys.executable, "-m", "training", *arguments], stdout=subprocess.PIPE, check=False)
    if run.returncode:
        raise TrainingError(f"loader: status {run.returncode}; what it printed above says why")
    rate: float = json.loads(run.stdout.splitlines()[-1])["samples_a_minute_of_a_core"]
    return rate


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    sys.exit(main())
