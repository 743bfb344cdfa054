"""Writing the cache: every case that is not there yet, in several processes."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from attention_dmfnet.cli.progress import Progress
from attention_dmfnet.files.image_io import ImageError, read_volume
from attention_dmfnet.geometry import Volume, canonicalise

from training.data.dataset import CaseEntry, StageGrid, cache_key, read_cached_geometry
from training.data.facts import renumber
from training.data.layouts import LABELS, RawCase
from training.data.stage_arrays import arrays_for, write_case
from training.errors import TrainingError
from training.recipe import Stage

# ITK's and torch's threads do not survive a fork
_PROCESSES = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Job:
    """One case to be cached for one stage in ``folder``."""

    folder: Path
    stage: Stage
    grid: StageGrid
    case: RawCase
    entry: CaseEntry

    @property
    def key(self) -> str:
        """What the cached case depends on."""
        return cache_key(self.entry, self.stage, self.grid)

    def is_done(self) -> bool:
        """Whether the cache holds this case as it should be."""
        cached = read_cached_geometry(self.folder)
        return cached is not None and cached.key == self.key


def cache_cases(jobs: Sequence[Job], workers: int) -> int:
    """Cache what is not there yet, both stages of a case from one reading; returns how many cases were made."""
    missing: dict[str, list[Job]] = {}
    for job in jobs:
        if not job.is_done():
            missing.setdefault(job.case.name, []).append(job)
    progress = Progress(len(missing), sys.stderr)
    progress.show("preparing")
    if workers > 1 and len(missing) > 1:
        with ProcessPoolExecutor(min(workers, len(missing)), _PROCESSES) as pool:
            for name in pool.map(_cache_case, missing.values()):
                progress.case_done()
                progress.show(f"prepared {name}")
    else:
        for work in missing.values():
            progress.show(f"preparing {work[0].case.name}")
            _cache_case(work)
            progress.case_done()
    progress.clear()
    return len(missing)


def _cache_case(jobs: Sequence[Job]) -> str:
    case = jobs[0].case
    assert case.labels is not None
    try:
        scan, values = read_volume(case.image), read_volume(case.labels).array
    except ImageError as error:
        raise TrainingError(f"{error}; it could be read when it was checked: prepare again") from error
    labels = canonicalise(Volume(renumber(values, case.label_of_value, case.annotated), scan.geometry))
    scan = canonicalise(scan)
    # a teacher has searched the whole scan already, whatever it was sure of
    search_everywhere = not case.is_pseudo and len(case.annotated) < len(LABELS)
    for job in jobs:
        image, small = arrays_for(job.stage, scan, labels, job.grid, search_everywhere)
        write_case(job.folder, job.key, image, small)
    return case.name
