"""Where aorta and vena cava run in a patient whose map does not show them: learned from the maps that do.

Courses are compared in a frame that every organ map has: the middle between the kidneys' centroids is the origin, and
the height is 0 there and 1 at the liver's top. In this frame the courses of different patients are alike in form and
differ by a constant shift in the axial plane. The shift is predicted from where the organs lie (ridge regression);
what is left over of a real patient's course gives a drawn one its form.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from training.errors import TrainingError
from training.painting.anatomy import Anatomy
from training.painting.tissue import Tissue

Floats = npt.NDArray[np.float64]

LEVELS = np.linspace(-0.9, 1.7, 53)
"""Heights in the frame: 0 is the kidneys' middle, 1 the liver's top."""

VESSELS = (Tissue.AORTA, Tissue.VENA_CAVA)
_FRAME_ORGANS = (Tissue.LIVER, Tissue.RIGHT_KIDNEY, Tissue.SPLEEN, Tissue.PANCREAS, Tissue.LEFT_KIDNEY)
_RIDGE = 5.0
_COMPARED = (LEVELS > 0) & (LEVELS < 0.85)
"""Where nearly every map shows its vessels: the shift of a course is its median there."""

_BESIDE_AORTA_MM = (-4.0, -32.0)
"""Where a vena cava runs that no map shows: a little in front of the aorta and to its right (y, x)."""

_FEWEST_SLICES = 8


@dataclass(frozen=True)
class Frame:
    """``origin_mm`` (z, y, x) between the kidneys, ``height_mm`` from there to the liver's top."""

    origin_mm: Floats
    height_mm: float
    features: Floats
    """(35,) mm: where each of five organs begins and ends, from the origin; NaN for an organ that is missing."""


@dataclass(frozen=True)
class Course:
    """A vessel slice by slice: ``z_mm`` (n,), ``middle_mm`` (n, 2) and half axes ``half_mm`` (n, 2), both y and x."""

    z_mm: Floats
    middle_mm: Floats
    half_mm: Floats


def frame_of(anatomy: Anatomy) -> Frame | None:
    """The frame of an organ map, or None where a kidney or the liver is missing."""
    ends = {organ: anatomy.ends_mm(int(organ)) for organ in _FRAME_ORGANS}
    right, left, liver = ends[Tissue.RIGHT_KIDNEY], ends[Tissue.LEFT_KIDNEY], ends[Tissue.LIVER]
    if right is None or left is None or liver is None:
        return None
    origin = (right[0] + left[0]) / 2
    rows = []
    for found in ends.values():
        if found is None:
            rows.append(np.full(7, np.nan))
            continue
        away = found - origin
        # centroid; ends along y (front, back); ends along x (right, left)
        rows.append(np.array([away[0, 0], away[0, 1], away[3, 1], away[4, 1], away[0, 2], away[5, 2], away[6, 2]]))
    return Frame(origin, float(liver[2, 0] - origin[0]), np.concatenate(rows))


def course_in(anatomy: Anatomy, vessel: Tissue) -> Course | None:
    """The course of ``vessel`` as the map shows it, or None if it shows less than a few slices."""
    where = anatomy.where_mm(int(vessel))
    levels, counts = np.unique(where[:, 0], return_counts=True)
    middles, halves, seen = [], [], levels[counts >= 4]
    if len(seen) < _FEWEST_SLICES:
        return None
    for z in seen:
        slice_ = where[where[:, 0] == z, 1:]
        middles.append(slice_.mean(0))
        # of a filled ellipse the standard deviation is half of the half axis
        halves.append(2 * slice_.std(0))
    return Course(seen, np.array(middles), np.array(halves))


@dataclass(frozen=True)
class CourseAtlas:
    """The courses of several patients: ``curves`` (patient, level, 2) and ``half_mm`` alike, NaN where not seen."""

    names: tuple[str, ...]
    frames: tuple[Frame, ...]
    curves: dict[Tissue, Floats]
    half_mm: dict[Tissue, Floats]
    made_of: str = ""
    """A hash of the maps."""

    def without(self, names: Collection[str]) -> CourseAtlas:
        """The atlas without these patients: a map's own course must not help to predict it."""
        keep = [n for n, name in enumerate(self.names) if name not in names]
        return CourseAtlas(
            tuple(self.names[n] for n in keep),
            tuple(self.frames[n] for n in keep),
            {vessel: curves[keep] for vessel, curves in self.curves.items()},
            {vessel: half[keep] for vessel, half in self.half_mm.items()},
        )

    def expected(self, frame: Frame, vessel: Tissue) -> Floats:
        """(level, 2) mm y and x from the frame's origin: the most likely course."""
        mean, _ = self._mean_and_forms(vessel)
        return mean + self._shift(frame)

    def forms(self, vessel: Tissue) -> Floats:
        """(patient, level, 2) mm: what is left of each real course less the mean one and its shift."""
        return self._mean_and_forms(vessel)[1]

    def _mean_and_forms(self, vessel: Tissue) -> tuple[Floats, Floats]:
        curves = self.curves[vessel][~np.isnan(self.curves[vessel][:, _COMPARED]).all((1, 2))]
        if not len(curves) and vessel == Tissue.VENA_CAVA:  # nobody shows one: it runs beside the aorta
            mean, forms = self._mean_and_forms(Tissue.AORTA)
            return mean + np.array(_BESIDE_AORTA_MM), forms
        if not len(curves):
            raise TrainingError("no other organ map shows an aorta, along which it could be drawn; add one to anatomy/")
        # patients are first brought to the same place, so that one who is seen in part does not move the mean
        shifts = np.nanmedian(curves[:, _COMPARED], 1, keepdims=True)
        forms = curves - shifts
        middle = _median_of_seen(forms)
        return _filled(middle) + np.median(shifts, 0)[0], np.stack([_filled(form - middle) for form in forms])

    def _shift(self, frame: Frame) -> Floats:
        """(2,) mm y and x: the patient's course less the mean one, predicted from the organs' places."""
        aorta = self.curves[Tissue.AORTA]
        known = ~np.isnan(aorta[:, _COMPARED]).all((1, 2))
        shifts = np.nanmedian(aorta[known][:, _COMPARED], 1)
        features = np.stack([f.features for f in self.frames])[known]
        middle, spread = np.zeros(features.shape[1]), np.full(features.shape[1], 1e-6)
        found = ~np.isnan(features).all(0)  # an organ that no map shows tells nothing
        middle[found] = np.nanmean(features[:, found], 0)
        spread[found] += np.nanstd(features[:, found], 0)
        seen = np.nan_to_num((features - middle) / spread)
        here = np.nan_to_num((frame.features - middle) / spread).clip(-2.5, 2.5)
        weights = np.linalg.solve(seen.T @ seen + _RIDGE * np.eye(len(middle)), seen.T @ (shifts - shifts.mean(0)))
        shift: Floats = here @ weights + shifts.mean(0) - np.median(shifts, 0)
        return shift

    def save(self, path: Path) -> None:
        """Write the atlas as one ``.npz``."""
        arrays: dict[str, npt.NDArray[Any]] = {
            "names": np.array(self.names),
            "origins": np.stack([f.origin_mm for f in self.frames]),
            "heights": np.array([f.height_mm for f in self.frames]),
            "features": np.stack([f.features for f in self.frames]),
            "made_of": np.array(self.made_of),
        }
        for vessel in VESSELS:
            arrays[f"curves_{int(vessel)}"] = self.curves[vessel]
            arrays[f"half_{int(vessel)}"] = self.half_mm[vessel]
        np.savez_compressed(path, **arrays)  # type: ignore[arg-type]

    @staticmethod
    def read(path: Path) -> CourseAtlas:
        """What ``save`` wrote."""
        with np.load(path) as arrays:
            rows = zip(arrays["origins"], arrays["heights"], arrays["features"], strict=True)
            frames = tuple(Frame(origin, float(height), features) for origin, height, features in rows)
            return CourseAtlas(
                tuple(str(name) for name in arrays["names"]),
                frames,
                {vessel: arrays[f"curves_{int(vessel)}"] for vessel in VESSELS},
                {vessel: arrays[f"half_{int(vessel)}"] for vessel in VESSELS},
                str(arrays["made_of"]) if "made_of" in arrays else "",
            )


def make_atlas(anatomies: Sequence[Anatomy], made_of: str = "") -> CourseAtlas:
    """The courses of all maps that show a vessel and have a frame. Raises ``TrainingError`` if none does."""
    names, frames = [], []
    curves: dict[Tissue, list[Floats]] = {vessel: [] for vessel in VESSELS}
    halves: dict[Tissue, list[Floats]] = {vessel: [] for vessel in VESSELS}
    for anatomy in anatomies:
        frame = frame_of(anatomy)
        courses = {vessel: course_in(anatomy, vessel) for vessel in VESSELS}
        if frame is None or all(course is None for course in courses.values()):
            continue
        names.append(anatomy.name)
        frames.append(frame)
        for vessel, course in courses.items():
            curves[vessel].append(_at_levels(frame, course, None if course is None else course.middle_mm, True))
            halves[vessel].append(_at_levels(frame, course, None if course is None else course.half_mm, False))
    if not names:
        raise TrainingError("no organ map shows an aorta, along which others could be drawn; add one to anatomy/")
    return CourseAtlas(
        tuple(names),
        tuple(frames),
        {vessel: np.stack(values) for vessel, values in curves.items()},
        {vessel: np.stack(values) for vessel, values in halves.items()},
        made_of,
    )


def _at_levels(frame: Frame, course: Course | None, values: Floats | None, from_origin: bool) -> Floats:
    """(level, 2) ``values`` along the course, NaN beyond its ends."""
    if course is None or values is None:
        return np.full((len(LEVELS), 2), np.nan)
    height = (course.z_mm - frame.origin_mm[0]) / frame.height_mm
    rows = values - frame.origin_mm[1:] if from_origin else values
    return np.stack([np.interp(LEVELS, height, rows[:, n], left=np.nan, right=np.nan) for n in range(2)], -1)


def _median_of_seen(forms: Floats) -> Floats:
    """(level, 2) medians over the patients of ``forms`` (patient, level, 2); NaN where nobody was seen."""
    middle = np.full(forms.shape[1:], np.nan)
    seen = ~np.isnan(forms[..., 0]).all(0)
    middle[seen] = np.nanmedian(forms[:, seen], 0)
    return middle


def _filled(curve: Floats) -> Floats:
    """``curve`` (level, 2) continued beyond its ends: straight on for a while, as its last tenth runs."""
    seen = np.flatnonzero(~np.isnan(curve[:, 0]))
    out = np.stack([np.interp(LEVELS, LEVELS[seen], curve[seen, n]) for n in range(2)], -1)
    reach = 6
    for end, inner, side in (
        (seen[-1], seen[max(len(seen) - reach, 0)], 1),
        (seen[0], seen[min(reach, len(seen)) - 1], -1),
    ):
        if end == inner:
            continue
        slope = (curve[end] - curve[inner]) / (end - inner)
        steps = (np.arange(len(LEVELS)) - end) * side
        beyond = steps > 0
        # half the slope, and no more than a hand's breadth of levels: a line runs away
        out[beyond] = curve[end] + 0.5 * slope * side * np.minimum(steps[beyond], 12)[:, None]
    return out
