"""The method, on one page: find the organs coarsely, label them finely, return to the scan's own grid."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import numpy as np
import numpy.typing as npt

from attention_dmfnet.files.cases import is_scan_name
from attention_dmfnet.files.image_io import ImageError, ItkImage, as_scan, write_labels
from attention_dmfnet.files.passed_over import INSTALL_DICOM, is_dicom
from attention_dmfnet.files.read_ahead import Scan, stamp_of
from attention_dmfnet.geometry import Geometry, GeometryError, Triple, Volume, canonicalise
from attention_dmfnet.marks import recording, seconds_by_step, step
from attention_dmfnet.model.loading import Networks
from attention_dmfnet.model.manifest import Manifest
from attention_dmfnet.model.network import LoadError, NetworkError, RunError, Scores
from attention_dmfnet.model.runtimes import Runtime
from attention_dmfnet.notes import Note
from attention_dmfnet.steps.components import Kept, dropped_note, keep_components
from attention_dmfnet.steps.quality import judge
from attention_dmfnet.steps.restore import restore_labels
from attention_dmfnet.steps.roi import Roi, find_roi
from attention_dmfnet.steps.seen_together import alone_note, seen_alone
from attention_dmfnet.steps.stage import Plan, StageModel
from attention_dmfnet.steps.widen import MOST_ROUNDS, Reached, Widened, reached_sides, widened, widening_notes


def segment(ct: Volume, coarse: StageModel, fine: StageModel, manifest: Manifest) -> Segmentation:
    """Label the organs of ``ct``, on the grid of ``ct`` itself, whatever its axes.

    Of ``manifest``, the ROI's margin, the label table and the component rules are used.
    """
    return label(score(ct, coarse, fine, manifest), manifest)


def score(ct: Volume, coarse: StageModel, fine: StageModel, manifest: Manifest) -> Scored:
    """The networks' half of ``segment``. The scores are valid until ``fine`` is asked again."""
    return look_further(
        lambda: score_cropped(crop(ct, coarse, fine, manifest), fine),
        lambda roi: score_cropped(crop_to(roi, ct, fine), fine),
        manifest,
    )


def crop(ct: Volume, coarse: StageModel, fine: StageModel, manifest: Manifest) -> Cropped:
    """What the fine network is to see of ``ct``, which nothing needs afterwards: a long one is most of the memory."""
    with step("coarse"):
        roi = locate(canonicalise(ct), coarse, manifest.roi_margin_mm)
    return crop_to(roi, ct, fine)


def crop_to(roi: Roi, ct: Volume, fine: StageModel) -> Cropped:
    """What the fine network is to see of ``ct`` where the ROI is known."""
    scan = canonicalise(ct)
    with step("crop"):
        plan = fine.plan(scan.geometry, roi.box)
        return Cropped(fine.view(scan, plan.grid), plan, ct.geometry, roi)


def score_cropped(cropped: Cropped, fine: StageModel) -> Scored:
    """What the fine network finds in it."""
    with step("fine"):
        scores = fine.score(cropped.view, cropped.plan)
    return Scored(scores, fine.score_grid(cropped.plan.grid), cropped.scan, cropped.roi)


def look_further(first: Callable[[], Scored], score_in: Callable[[Roi], Scored], manifest: Manifest) -> Scored:
    """What ``first`` finds; where organs go on beyond its ROI, what ``score_in`` finds in a larger one, and so on.

    Where that cannot be had, what was found before stays.
    """
    found = first()
    followed: list[Reached] = []
    reached, why = _reached(found, manifest), ""
    for _ in range(MOST_ROUNDS):
        if not reached:
            break
        roi = replace(found.roi, box=widened(found.roi.box, reached, found.scan.canonical()))
        # they may lie in the network's own memory, which it fills again
        found = replace(found, scores=found.scores.copy())
        try:
            with step("widen"):
                found = score_in(roi)
        except (ImageError, GeometryError, RunError, MemoryError) as error:
            why = str(error) or "not enough memory"
            break
        followed += reached
        reached = _reached(found, manifest)
    return replace(found, widened=Widened(tuple(followed), tuple(reached), why)) if followed or reached else found


def _reached(found: Scored, manifest: Manifest) -> list[Reached]:
    return reached_sides(found.roi.box, found.scores, found.grid, found.scan.canonical(), manifest.labels)


def locate(scan: Volume, coarse: StageModel, roi_margin_mm: Triple) -> Roi:
    """The ROI of a canonical ``scan``: where the coarse stage sees organs, any of them."""
    plan = coarse.plan(scan.geometry)
    background, organs = coarse.score(coarse.view(scan, plan.grid), plan)
    return find_roi(organs > background, coarse.score_grid(plan.grid), scan.geometry, roi_margin_mm)


def label(
    found: Scored, manifest: Manifest, organs: Collection[str] | None = None, probabilities: bool = False
) -> Segmentation:
    """The other half of ``segment``: from scores to labels on the scan's grid, of ``organs`` alone if they are given.

    All organs are looked at, because what is odd about a scan shows in how they lie to each other. With
    ``mean_probabilities`` if asked.
    """
    wanted = manifest.labels if organs is None else {o: n for o, n in manifest.labels.items() if o in organs}
    roi = found.scan.canonical().crop(found.roi.box)
    with step("restore"):
        part = restore_labels(found.scores, found.grid, roi)
    with step("components"):
        by_label = {manifest.labels[organ]: rule for organ, rule in manifest.components.items()}
        kept: dict[int, Kept] = {}
        dropped_ml: dict[int, float] = {}
        volumes_ml = keep_components(part, by_label, found.scan.voxel_volume_mm3, kept, dropped_ml)
        organs_ml = {organ: volumes_ml[number] for organ, number in manifest.labels.items()}
        alone_ml = seen_alone(organs_ml, manifest.seen_together)
        organs_ml |= dict.fromkeys(alone_ml, 0.0)
        shown = {organ: number for organ, number in wanted.items() if organ not in alone_ml}
        if len(shown) < len(manifest.labels):
            _drop_others(part, shown.values())
        labels = Volume(np.zeros(found.scan.shape_zyx, dtype=np.uint8), found.scan)
        # written through a view with the canonical axes: the way back to the scan's axes costs nothing
        canonicalise(labels).array[found.roi.box.slices] = part
    dropped = [dropped_note(organ, organs_ml[organ], dropped_ml.get(number, 0.0)) for organ, number in shown.items()]
    told_ml = {organ: volume for organ, volume in alone_ml.items() if organ in wanted}
    dropped.append(alone_note(told_ml, manifest.seen_together))
    there = {organ: kept[number] for organ, number in manifest.labels.items() if organs_ml[organ]}
    doubts = judge(there, volumes_ml=organs_ml, roi=found.roi.box, scan=found.scan.canonical(), wanted=wanted)
    widening = () if found.widened is None else widening_notes(found.widened, wanted)
    notes = (*found.notes, *found.roi.notes, *widening, *(note for note in dropped if note is not None), *doubts)
    means: dict[str, float] = {}
    if probabilities:
        from attention_dmfnet.steps.probability import mean_probabilities

        with step("probability"):
            by_number = mean_probabilities(found.scores, found.grid, part, roi)
        means = {organ: by_number[number] for organ, number in wanted.items() if number in by_number}
    volumes = {organ: organs_ml[organ] for organ in wanted}
    return Segmentation(labels, volumes, roi, notes, mean_probabilities=means, organs=dict(wanted))


def _drop_others(labels: npt.NDArray[np.uint8], wanted: Iterable[int]) -> None:
    """Set to 0, in place, what is none of the labels ``wanted``."""
    kept = np.zeros(256, dtype=np.uint8)
    kept[list(wanted)] = list(wanted)
    np.take(kept, labels, out=labels)


@dataclass(frozen=True, slots=True, eq=False)
class Cropped:
    """The ``roi`` of a scan as the fine network sees it, and where; of the ``scan`` only its grid."""

    view: Volume
    plan: Plan
    scan: Geometry
    roi: Roi


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """What the networks found in ``roi``: the fine ``scores``, on ``grid``. Of the ``scan`` only its grid is needed.

    ``widened`` says where organs went on beyond the coarse stage's ROI, if any did.
    """

    scores: Scores
    grid: Geometry
    scan: Geometry
    roi: Roi
    notes: tuple[Note, ...] = ()
    widened: Widened | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """The organs of one scan.

    ``labels`` (uint8) lie on the scan's own grid. ``volumes_ml`` has every organ that was asked for, 0 for those that
    were not found, and ``organs`` their numbers in the labels. ``roi`` is the part of the scan, turned to canonical
    axes, that was searched. ``notes`` say what is doubtful, each a sentence with a ``code``, and ``seconds`` how long
    each step took. ``mean_probabilities`` (0 to 1) of the organs that were found are there if they were asked for.
    """

    labels: Volume
    volumes_ml: dict[str, float]
    roi: Geometry
    notes: tuple[Note, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    mean_probabilities: dict[str, float] = field(default_factory=dict)
    organs: dict[str, int] = field(default_factory=dict)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the label map with the organs' names, compressed: the whole file or none. Raises ``ImageError``."""
        write_labels(self.labels, Path(path), self.organs)


def _reader(scan: str | PathLike[str] | Volume | ItkImage) -> Callable[[list[Note], bool], Volume]:
    """What reads ``scan`` as often as it is asked to; of DICOM, the series is chosen here, once."""
    if isinstance(scan, str | PathLike) and not is_scan_name(Path(scan)):
        path = Path(scan)
        if path.is_dir() or is_dicom(path):
            try:
                # late: whoever has no DICOM pays nothing for it
                from attention_dmfnet.dicom.listing import only_case
            except ModuleNotFoundError as error:
                raise ImageError(
                    f"{path} may hold DICOM, and the Python package {error.name} is missing; "
                    f"{INSTALL_DICOM} brings what reads it"
                ) from error
            return only_case(path).read
    return partial(as_scan, scan)


_Seen = TypeVar("_Seen")
_Found = TypeVar("_Found")


class Segmenter:
    """Both networks, and the method as a function of one scan. Any thread may call; the networks see one scan a time.

    ``close`` it, or use it in a ``with`` block, to give the networks' memory back.
    """

    def __init__(
        self, manifest: Manifest, networks: Networks, wanted: frozenset[str] | None = None, strict: bool = False
    ) -> None:
        """Made by ``attention_dmfnet.load``; ``networks`` may still be loading."""
        self.manifest = manifest
        self._wanted = wanted
        self._strict = strict
        self._networks: Networks | None = networks
        self._instead: Networks | None = None
        self._lock = threading.RLock()

    @property
    def organs(self) -> dict[str, int]:
        """The number in the label map of each organ that was asked for; 0 is everything else."""
        return {organ: n for organ, n in self.manifest.labels.items() if self._wanted is None or organ in self._wanted}

    def wait(self) -> str:
        """Wait until the networks are loaded; returns in words what computes them, and where. Raises ``LoadError``."""
        networks = self._open()
        networks.coarse.wait()
        return str(networks.runtime.result())

    def tell_runtime(self, tell: Callable[[Runtime], None]) -> None:
        """Call ``tell`` with what computes the networks when it is known, if ever; perhaps on another thread."""
        self._open().runtime.add_done_callback(lambda done: None if done.exception() else tell(done.result()))

    def __call__(self, scan: str | PathLike[str] | Volume | ItkImage) -> Segmentation:
        """Label the organs of ``scan``: a file, a ``Volume``, an image of SimpleITK's, or one study of DICOM.

        DICOM is a folder with folders below it, a ``.zip`` or a file; of its series the axial CT with most coverage is
        taken. Reading it needs the extra ``dicom``.

        Raises ``ImageError`` for what is no CT (and, if strict, for what is doubtful), ``RunError`` if the runtime
        fails on it, ``LoadError`` if none can be used or this object is closed.
        """
        notes: list[Note] = []
        self._open()
        with recording() as steps:
            with step("read"):
                reader = _reader(scan)
                source = Path(scan) if isinstance(scan, str | PathLike) else None
                stamp = stamp_of(source)
                read = Scan(source, reader(notes, self._strict), (), (), reader, self._strict, stamp)
            with step("wait"):
                self.wait()
                # this one, whichever `restart` puts in its place
                lock = self._lock
                lock.acquire()
            try:
                found = self.score(read.hand_over)
            finally:
                lock.release()
            result = self.label(found)
        return replace(result, notes=(*notes, *result.notes), seconds=seconds_by_step(steps))

    def score(self, ct: Volume | Callable[[], Volume]) -> Scored:
        """The networks' half of the work, one scan at a time; ``label`` is the other, and free of them.

        A scan that ``ct`` returns is let go before the fine network computes. It is asked for again if organs go on
        beyond the ROI; where it cannot be had then, what was found before stays. Where the choice of a runtime was left
        open and it fails, the next best one sees what it was to see, with a note. Raises ``LoadError``, ``RunError``,
        and what ``ct`` raises at first.
        """
        give = ct if callable(ct) else lambda: ct
        why = ""
        with self._lock:
            networks = self._open()

            def ask(what: Callable[[Networks, _Seen], _Found], seen: _Seen) -> _Found:
                nonlocal networks, why
                found, networks, later = self._ask(what, networks, seen)
                why = why or later
                return found

            def score_in(roi: Roi) -> Scored:
                return ask(self._score, crop_to(roi, give(), StageModel(self.manifest.fine, networks.fine)))

            found = look_further(lambda: ask(self._score, ask(self._crop, give())), score_in, self.manifest)
            if not why:
                return found
            instead = replace(networks.runtime.result(), why=why)
            return replace(found, notes=(Note("runtime-replaced", f"labelled by {instead}"),))

    def label(self, found: Scored, probabilities: bool = False) -> Segmentation:
        """Labels from what ``score`` returned; with ``mean_probabilities`` if asked."""
        return label(found, self.manifest, self._wanted, probabilities)

    def restart(self) -> None:
        """Load the networks anew, in place of those that a call does not return from: what it holds stays lost.

        Raises ``LoadError`` if this object is closed.
        """
        again = self._open().again()
        self._lock = threading.RLock()
        self._networks, self._instead = again, None

    def close(self) -> None:
        """Let go of the networks, when the scan that they see is done. Whatever is asked afterwards is refused."""
        with self._lock:
            loaded = [networks for networks in (self._networks, self._instead) if networks is not None]
            self._networks = self._instead = None
        for networks in loaded:
            # no thread of ours stays behind
            with contextlib.suppress(NetworkError):
                networks.fine.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(
        self, what: Callable[[Networks, _Seen], _Found], networks: Networks, seen: _Seen
    ) -> tuple[_Found, Networks, str]:
        """What ``networks`` find, or else the next best ones, and why not the first. Raises ``NetworkError``."""
        try:
            return what(networks, seen), networks, ""
        except NetworkError as error:
            # kept: what one GPU has no memory for comes in twos
            self._instead = self._instead or networks.next_best(str(error))
            if self._instead is None or networks is self._instead:
                raise
            kind, why = type(error), str(error)
        try:
            return what(self._instead, seen), self._instead, why
        except NetworkError as error:
            # as bad as the first: where that was this scan's alone, the next one is tried again
            raise kind(f"{why}; {error}") from error

    def _crop(self, networks: Networks, ct: Volume) -> Cropped:
        coarse = StageModel(self.manifest.coarse, networks.coarse)
        return crop(ct, coarse, StageModel(self.manifest.fine, networks.fine), self.manifest)

    def _score(self, networks: Networks, cropped: Cropped) -> Scored:
        found = score_cropped(cropped, StageModel(self.manifest.fine, networks.fine))
        # the network's own memory, which it fills again for the next scan
        return replace(found, scores=found.scores.copy())

    def _open(self) -> Networks:
        networks = self._networks
        if networks is None:
            raise LoadError("this segmenter is closed; make another one with attention_dmfnet.load()")
        return networks
