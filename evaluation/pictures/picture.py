"""Organs over the CT in three planes, as one picture for a person to judge. Needs Pillow only."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from attention_dmfnet.geometry import Volume, canonicalise
from attention_dmfnet.organs import colour_of
from PIL import Image, ImageDraw, ImageFont

from evaluation.accuracy.same_grid import require_same_grid
from evaluation.errors import EvaluationError
from evaluation.organs import ORGANS

COLOURS: tuple[tuple[int, int, int], ...] = tuple(map(colour_of, ORGANS))
"""Colour (red, green, blue) of organ ``ORGANS[i]``."""

_WINDOW_HU = (40 - 200, 40 + 200)
_PANEL_PX = 460
_GAP_PX = 14
_LEGEND_PX = 250
_TITLE_PX = 40
_FILL = 0.38

Rgb = npt.NDArray[np.uint8]
"""(row, column, 3) red, green and blue."""


@dataclass(frozen=True, slots=True)
class _Plane:
    """One way to cut: the array axis that is cut, and the letters at the left, right, top and bottom edge."""

    name: str
    axis: int
    left: str
    right: str
    top: str
    bottom: str


# as radiologists look: from the feet, from the front and from the left side
_PLANES = (
    _Plane("axial", 0, "R", "L", "A", "P"),
    _Plane("coronal", 1, "R", "L", "S", "I"),
    _Plane("sagittal", 2, "A", "P", "S", "I"),
)


def draw(ct: Volume, labels: Volume, path: Path, title: str) -> None:
    """Write a PNG of ``labels`` (0 to 13) over ``ct`` (HU, window 40 / 400) with a legend of the organs' volumes.

    The slices are those that cut most organs. All three planes share one scale in mm.

    Raises ``EvaluationError`` if the two lie on different grids, the labels are none of FLARE22's, or the place
    cannot be written.
    """
    require_same_grid(ct, "the CT", labels, "the label map")
    if labels.array.size and not 0 <= int(labels.array.min()) <= int(labels.array.max()) <= len(ORGANS):
        raise EvaluationError(f"the label map holds values outside 0 to {len(ORGANS)}; is it FLARE22's numbering?")
    ct, labels = canonicalise(ct), canonicalise(labels)
    mm_per_px = max(ct.geometry.extent_mm_zyx[:2]) / _PANEL_PX
    panels = [_panel(ct, labels, plane, mm_per_px) for plane in _PLANES]
    height = _TITLE_PX + max(max(panel.height for panel in panels), 13 * 26 + 30) + 2 * _GAP_PX
    width = sum(panel.width + _GAP_PX for panel in panels) + _GAP_PX + _LEGEND_PX
    sheet = Image.new("RGB", (width, height), (16, 17, 20))
    ImageDraw.Draw(sheet).text((_GAP_PX, 10), title, fill=(235, 235, 235), font=_font(20))
    left = _GAP_PX
    for panel in panels:
        sheet.paste(panel, (left, _TITLE_PX + _GAP_PX))
        left += panel.width + _GAP_PX
    _draw_legend(sheet, labels, left)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(path, format="PNG", optimize=True)
    except OSError as error:
        raise EvaluationError(f"cannot write the picture {path}: {error.strerror or error}") from error


def best_slice(labels: npt.NDArray[Any], axis: int) -> int:
    """The index along ``axis`` at which a cut shows most organs, each by its share; the middle if there is none."""
    others = tuple(other for other in range(3) if other != axis)
    shown = np.zeros(labels.shape[axis])
    for label in np.unique(labels[labels > 0]):
        area = np.count_nonzero(labels == label, axis=others).astype(np.float64)
        # the root: a glimpse of a further organ is worth more than the last bit of one that is seen already
        shown += np.sqrt(area / area.max())
    return int(shown.argmax()) if shown.any() else labels.shape[axis] // 2


def _panel(ct: Volume, labels: Volume, plane: _Plane, mm_per_px: float) -> Image.Image:
    index = best_slice(labels.array, plane.axis)
    gray, organs = (np.take(volume.array, index, axis=plane.axis) for volume in (ct, labels))
    if plane.axis != 0:
        # z grows upwards in the patient, rows downwards in a picture
        gray, organs = gray[::-1], organs[::-1]
    spacing = [mm for axis, mm in enumerate(ct.geometry.spacing_zyx) if axis != plane.axis]
    rows, columns = (max(1, round(n * mm / mm_per_px)) for n, mm in zip(gray.shape, spacing, strict=True))
    low, high = _WINDOW_HU
    windowed = (np.clip((gray.astype(np.float32) - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    size = (columns, rows)
    gray_px = np.asarray(Image.fromarray(windowed).resize(size, Image.Resampling.BICUBIC))
    organs_px = np.asarray(
        Image.fromarray(np.ascontiguousarray(organs, dtype=np.uint8)).resize(size, Image.Resampling.NEAREST)
    )
    panel = Image.fromarray(_overlaid(gray_px, organs_px))
    _letter_edges(panel, plane)
    return panel


def _overlaid(gray: npt.NDArray[np.uint8], organs: npt.NDArray[np.uint8]) -> Rgb:
    colours = np.array(((0, 0, 0), *COLOURS), np.float32)[organs]
    base = np.repeat(gray[..., None].astype(np.float32), 3, axis=-1)
    border = np.zeros(organs.shape, bool)
    border[:, 1:] |= organs[:, 1:] != organs[:, :-1]
    border[1:] |= organs[1:] != organs[:-1]
    share = np.where(organs > 0, np.where(border, 0.95, _FILL), 0).astype(np.float32)[..., None]
    mixed: Rgb = np.rint(base * (1 - share) + colours * share).astype(np.uint8)
    return mixed


def _letter_edges(panel: Image.Image, plane: _Plane) -> None:
    pen, font = ImageDraw.Draw(panel), _font(15)
    width, height = panel.size
    for letter, place, anchor in (
        (plane.left, (4, height / 2), "lm"),
        (plane.right, (width - 4, height / 2), "rm"),
        (plane.top, (width / 2, 3), "ma"),
        (plane.bottom, (width / 2, height - 3), "md"),
    ):
        pen.text(place, letter, fill=(255, 224, 130), font=font, anchor=anchor)
    pen.text((5, height - 4), plane.name, fill=(200, 200, 200), font=_font(13), anchor="ld")


def _draw_legend(sheet: Image.Image, labels: Volume, left: int) -> None:
    pen, font = ImageDraw.Draw(sheet), _font(15)
    voxels = np.bincount(labels.array.ravel().astype(np.intp), minlength=len(ORGANS) + 1)
    top = _TITLE_PX + _GAP_PX
    for label, (organ, colour) in enumerate(zip(ORGANS, COLOURS, strict=True), start=1):
        y = top + (label - 1) * 26
        found = bool(voxels[label])
        pen.rectangle((left, y + 3, left + 15, y + 18), fill=colour if found else None, outline=colour)
        tone = (225, 225, 225) if found else (120, 120, 120)
        pen.text((left + 24, y + 10), organ, fill=tone, font=font, anchor="lm")
        volume_ml = voxels[label] * labels.geometry.voxel_volume_mm3 / 1000
        size = f"{volume_ml:.0f} mL" if volume_ml >= 10 else f"{volume_ml:.1f} mL"
        pen.text((left + _LEGEND_PX - 14, y + 10), size if found else "-", fill=tone, font=font, anchor="rm")


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
