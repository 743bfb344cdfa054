"""Pictures of an organ in three planes, each through its largest section, with contours. Needs Pillow."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from attention_dmfnet.geometry import Box, Geometry, Volume
from attention_dmfnet.organs import colour_of

_WINDOW_HU: Final = (40 - 200, 40 + 200)
_LONGEST_PX: Final = 300
_MARGIN_MM: Final = 25.0
_FILL: Final = 0.3
_SLAB: Final = 0.4
"""Of its width: what is lower is best seen from below."""

_QUALITY: Final = 70


@dataclass(frozen=True, slots=True)
class Plane:
    """One way to cut: the canonical array axis that is cut, and the sides at the left, right, top and bottom edge."""

    name: str
    axis: int
    sides: tuple[str, str, str, str]


# as radiologists look: from the feet, from the front and from the left side
PLANES: Final = (
    Plane("axial", 0, ("R", "L", "A", "P")),
    Plane("coronal", 1, ("R", "L", "S", "I")),
    Plane("sagittal", 2, ("A", "P", "S", "I")),
)


@dataclass(frozen=True, slots=True)
class Section:
    """A picture as a data URL, and in words what it shows."""

    url: str
    text: str
    width: int
    height: int


def organ_sections(
    ct: Volume, labels: Volume, boxes: Mapping[int, Box], names: Mapping[int, str]
) -> dict[int, list[Section]]:
    """For each label in ``boxes`` (its box in ``labels``), its largest axial, coronal and sagittal section.

    ``ct`` (HU) and ``labels`` are canonical and on one grid. All pictures show the region of all organs.
    """
    if not boxes:
        return {}
    region = _region(boxes, ct.geometry)
    ct, labels = ct.crop(region), labels.crop(region)
    sections: dict[int, list[Section]] = {}
    for label, box in boxes.items():
        part = _within(box, region)
        mask = labels.array[part] == label
        sections[label] = [
            _section(ct, labels, plane, part[plane.axis].start + _largest(mask, plane.axis), label, names)
            for plane in PLANES
        ]
    return sections


def overview(ct: Volume, labels: Volume, boxes: Mapping[int, Box], names: Mapping[int, str]) -> Section:
    """The section that shows most of the organs: a coronal one, of a slab an axial one."""
    region = _region(boxes, ct.geometry) if boxes else Box((0, 0, 0), ct.geometry.shape_zyx)
    ct, labels = ct.crop(region), labels.crop(region)
    height_mm, _, width_mm = ct.geometry.extent_mm_zyx
    plane = PLANES[0] if height_mm < _SLAB * width_mm else PLANES[1]
    others = tuple(axis for axis in range(3) if axis != plane.axis)
    shown = np.zeros(labels.array.shape[plane.axis])
    for label, box in boxes.items():
        part = _within(box, region)
        area = np.count_nonzero(labels.array[part] == label, axis=others)
        # the root: a glimpse of a further organ is worth more than the last bit of one that is seen already
        shown[part[plane.axis]] += np.sqrt(area / area.max())
    index = int(shown.argmax()) if boxes else len(shown) // 2
    return _section(ct, labels, plane, index, None, names)


def _within(box: Box, region: Box) -> tuple[slice, slice, slice]:
    """The voxels of ``box`` as an index into what was cropped to ``region``."""
    z, y, x = (
        slice(start - first, stop - first)
        for start, stop, first in zip(box.start_zyx, box.stop_zyx, region.start_zyx, strict=True)
    )
    return (z, y, x)


def _region(boxes: Mapping[int, Box], grid: Geometry) -> Box:
    """What all ``boxes`` cover, and a margin."""
    margin = np.ceil(_MARGIN_MM / np.asarray(grid.spacing_zyx)).astype(int)
    start = np.maximum(np.min([box.start_zyx for box in boxes.values()], axis=0) - margin, 0)
    stop = np.minimum(np.max([box.stop_zyx for box in boxes.values()], axis=0) + margin, grid.shape_zyx)
    return Box((int(start[0]), int(start[1]), int(start[2])), (int(stop[0]), int(stop[1]), int(stop[2])))


def _largest(mask: npt.NDArray[np.bool_], axis: int) -> int:
    others = tuple(other for other in range(3) if other != axis)
    return int(np.count_nonzero(mask, axis=others).argmax())


def _section(
    ct: Volume, labels: Volume, plane: Plane, index: int, chosen: int | None, names: Mapping[int, str]
) -> Section:
    # a view: `numpy.take` would copy the whole of a scan that is stored in another order
    cut = (slice(None),) * plane.axis + (index,)
    gray, organs = ct.array[cut], labels.array[cut]
    if plane.axis != 0:
        # z grows upwards in the patient, rows downwards in a picture
        gray, organs = gray[::-1], organs[::-1]
    spacing = [mm for axis, mm in enumerate(ct.geometry.spacing_zyx) if axis != plane.axis]
    mm_per_px = max(ct.geometry.extent_mm_zyx) / _LONGEST_PX
    rows, columns = (max(1, round(n * mm / mm_per_px)) for n, mm in zip(gray.shape, spacing, strict=True))
    low, high = _WINDOW_HU
    windowed = (np.clip((gray.astype(np.float32) - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    gray_px = np.asarray(Image.fromarray(windowed).resize((columns, rows), Image.Resampling.BICUBIC))
    organs_px = np.asarray(_enlarged(organs, (columns, rows)))
    picture = Image.fromarray(_with_contours(gray_px, organs_px, chosen, names))
    _letter(picture, plane)
    corner = [0.0, 0.0, 0.0]
    corner[plane.axis] = float(index)
    along = 2 - plane.axis
    at_mm = ct.geometry.point_lps((corner[0], corner[1], corner[2]))[along]
    name = "all organs" if chosen is None else names[chosen]
    text = f"{name}, {plane.name} section at {'xyz'[along]} = {at_mm:.0f} mm"
    if chosen is not None:
        area_cm2 = float(np.count_nonzero(organs == chosen)) * spacing[0] * spacing[1] / 100
        text += f", {area_cm2:.1f} cm²"
    return Section(_data_url(picture), text, columns, rows)


def _enlarged(organs: npt.NDArray[Any], size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(organs, dtype=np.uint8)).resize(size, Image.Resampling.NEAREST)


def _with_contours(
    gray: npt.NDArray[np.uint8], organs: npt.NDArray[np.uint8], chosen: int | None, names: Mapping[int, str]
) -> npt.NDArray[np.uint8]:
    """Every organ's contour in its colour, and the ``chosen`` one filled a little; without one, all of them."""
    table = np.zeros((256, 3), np.float32)
    for label, name in names.items():
        table[label] = colour_of(name)
    border = np.zeros(organs.shape, bool)
    for axis in (0, 1):
        for step in (1, -1):
            border |= organs != _shifted(organs, axis, step)
    filled = organs > 0 if chosen is None else organs == chosen
    share = np.where(organs > 0, np.where(border, 0.95, np.where(filled, _FILL, 0)), 0).astype(np.float32)[..., None]
    mixed = gray[..., None].astype(np.float32) * (1 - share) + table[organs] * share
    result: npt.NDArray[np.uint8] = np.rint(mixed).astype(np.uint8)
    return result


def _shifted(organs: npt.NDArray[np.uint8], axis: int, step: int) -> npt.NDArray[np.uint8]:
    moved = np.roll(organs, step, axis)
    edge = [slice(None), slice(None)]
    edge[axis] = slice(0, 1) if step == 1 else slice(-1, None)
    # nothing wraps around
    moved[tuple(edge)] = organs[tuple(edge)]
    return moved


def _letter(picture: Image.Image, plane: Plane) -> None:
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    width, height = picture.size
    left, right, top, bottom = plane.sides
    for letter, place, anchor in (
        (left, (3, height / 2), "lm"),
        (right, (width - 3, height / 2), "rm"),
        (top, (width / 2, 2), "ma"),
        (bottom, (width / 2, height - 2), "md"),
    ):
        pen.text(place, letter, fill=(255, 224, 130), font=font, anchor=anchor)


def _data_url(picture: Image.Image) -> str:
    packed = io.BytesIO()
    picture.save(packed, "WEBP", quality=_QUALITY, method=2)
    return "data:image/webp;base64," + base64.b64encode(packed.getvalue()).decode()
