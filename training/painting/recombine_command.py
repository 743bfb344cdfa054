"""``python -m training recombine``: a library of bodies to paint from, with transplants and morphs between patients."""

from __future__ import annotations

import argparse
import functools
import logging
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from training.errors import TrainingError
from training.options import can_be_folder
from training.painting.audit import passes
from training.painting.bodies import SAME_PATIENT, atlas_beside, body_paths, finished, is_held_out, load, read_body
from training.painting.body_library import (
    BodyLibrary,
    body_hashes,
    claim_library,
    is_library,
    open_library,
    write_library,
)
from training.painting.completion import REAL, Body
from training.painting.liver_veins import without_liver_veins
from training.painting.morph import SHARE, morph
from training.painting.recombine import transplant

_log = logging.getLogger(__name__)

Accept = Callable[[Body], bool]

MIXED, MORPHED = "mixed", "morphed"
_MOST_ATTEMPTS = 40
_MORPHS_PER_TRANSPLANT = 0.25


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of ``recombine``."""
    parser.add_argument("bodies", metavar="BODIES", type=Path, help="the folder of completed bodies")
    parser.add_argument("--to", metavar="LIBRARY", type=Path, required=True, help="the library's folder")
    parser.add_argument("--count", metavar="N", type=int, default=200, help="transplants; default: 200, and N/4 morphs")
    parser.add_argument("--seed", type=int, default=1, help="of the pairs and the drawn vessels; default: 1")
    parser.add_argument("--workers", type=int, default=2, help="processes; default: 2")


def recombine(options: argparse.Namespace) -> int:
    """Build what is missing of the library; returns the exit status."""
    if options.count < 0 or options.workers < 1:
        raise TrainingError("--count must be 0 or more and --workers 1 or more")
    can_be_folder("--to", options.to)
    build_library(options.bodies, options.to, options.count, options.seed, options.workers, passes_audit)
    return 0


def passes_audit(body: Body) -> bool:
    """Whether a recombined body may be painted from: its receiver's illness and untaught organs are allowed for."""
    return passes(body.tissues, body.owner, body.known)


def build_library(
    bodies: Path, folder: Path, count: int, seed: int, workers: int = 2, accept: Accept | None = None
) -> BodyLibrary:
    """The training bodies of ``bodies``, ``count`` transplants and a quarter as many morphs, in ``folder``.

    Vessels are drawn by ``seed``, and for each recombined body anew: ``accept`` is what audits those drawings.
    Held-out patients are not used; a patient is not recombined with itself, nor the real scan with anyone, as its field
    of view cuts the organs that would be landmarks. ``accept`` may refuse a recombined body; it is pickled. What is
    there already is kept, and the same seed gives the same bodies whatever ``workers`` is. Raises ``TrainingError`` if
    there is no body, there are no two patients, or ``folder`` is a library of other bodies; then nothing is written.
    """
    if bodies.is_dir() and is_library(bodies):
        raise TrainingError(f"{bodies} is a library already; name the folder of completed bodies that it was made of")
    made_of = body_hashes(path for path in body_paths(bodies) if not is_held_out(path.stem))
    originals = [body for body in load(bodies, seed=seed) if not is_held_out(body.name)]
    candidates = [body.name for body in originals if not body.name.startswith(REAL)]
    if count and not any(_may_pair(one, other) for one in candidates for other in candidates):
        patients = ", ".join(sorted({patient_of(name) for name in candidates})) or "none"
        raise TrainingError(f"{bodies} holds no two patients to recombine, only {patients}; complete more maps")
    claim_library(folder, made_of)
    write_library(originals, folder)
    del originals
    job = functools.partial(_make, _Job(bodies, folder, tuple(candidates), seed, accept))
    plan = [(MIXED, number) for number in range(count)]
    plan += [(MORPHED, number) for number in range(round(count * _MORPHS_PER_TRANSPLANT))]
    if workers == 1:
        attempts = [job(item) for item in plan]
    else:
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
            attempts = list(pool.map(job, plan))
    for kind in (MIXED, MORPHED):
        tried = [tries for (made, _), tries in zip(plan, attempts, strict=True) if made == kind and tries is not None]
        done = sum(tries > 0 for tries in tried)
        _log.info("%s: %d made in %d attempts", kind, done, sum(abs(tries) for tries in tried))
    return open_library(folder)


@dataclass(frozen=True)
class _Job:
    bodies: Path
    folder: Path
    candidates: Sequence[str]
    seed: int
    accept: Accept | None


def _make(job: _Job, item: tuple[str, int]) -> int | None:
    """Make one body; returns the attempts it took, negative if none succeeded, ``None`` if it was there."""
    kind, number = item
    stem = f"{kind}_{job.seed}_{number:04d}"
    if any(job.folder.glob(f"{stem}=*.tissues.npy")):
        return None
    rng = np.random.default_rng((job.seed, (MIXED, MORPHED).index(kind), number))
    library = open_library(job.folder)
    for attempt in range(1, _MOST_ATTEMPTS + 1):
        one, other = draw_pair(job.candidates, rng)
        body = _attempt(kind, _drawn_anew(job.bodies / f"{one}.npz", rng), library[library.names.index(other)], rng)
        if body is not None and (job.accept is None or job.accept(body)):
            write_library([replace(body, name=f"{stem}={body.name}")], job.folder)
            return attempt
    _log.warning("%s: no pair of %d fitted", stem, _MOST_ATTEMPTS)
    return -_MOST_ATTEMPTS


def _drawn_anew(path: Path, rng: np.random.Generator) -> Body:
    """The body with other vessels than in the library, so that training sees it with several."""
    return finished(read_body(path), atlas_beside(path.parent), int(rng.integers(1, 2**31)))


def _attempt(kind: str, first: Body, second: Body, rng: np.random.Generator) -> Body | None:
    if kind == MIXED:
        # the pancreas that comes may lie elsewhere: its veins are drawn where it is
        bare = replace(first, tissues=without_liver_veins(first.tissues))
        made = transplant(bare, second, with_pancreas=bool(rng.uniform() < 0.5))
        return None if made is None else made.with_liver_veins(rng)
    return morph(first, second, share=float(rng.uniform(*SHARE)))


def draw_pair(candidates: Sequence[str], rng: np.random.Generator) -> tuple[str, str]:
    """Names of two bodies of different patients, any two such as likely as others of the first."""
    first = candidates[int(rng.integers(len(candidates)))]
    others = [name for name in candidates if _may_pair(first, name)]
    return first, others[int(rng.integers(len(others)))]


def _may_pair(one: str, other: str) -> bool:
    patients = frozenset({patient_of(one), patient_of(other)})
    return len(patients) == 2 and patients not in map(frozenset, SAME_PATIENT)


def patient_of(name: str) -> str:
    """The map a body was completed from: NAME of NAME_0 and NAME_1."""
    return name.rsplit("_", 1)[0]
