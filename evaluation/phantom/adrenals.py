"""The adrenal glands: thin, two-limbed, above the kidneys."""

import math

import numpy as np

from evaluation.phantom.overlay import paint_organ
from evaluation.phantom.patient import Patient
from evaluation.phantom.shapes import Canvas, Field, Waves, smooth_max


def paint_adrenals(canvas: Canvas, patient: Patient) -> None:
    """Paint and label both glands."""
    _paint_adrenal(canvas, patient, "right adrenal gland", (-27, -25), ((-33, -6), (-42, -10)), (30, 55))
    _paint_adrenal(canvas, patient, "left adrenal gland", (32, -38), ((27, -14), (45, -18)), (22, 52))


def _paint_adrenal(
    canvas: Canvas,
    patient: Patient,
    organ: str,
    body_xy: tuple[float, float],
    limb_ends_xy: tuple[tuple[float, float], tuple[float, float]],
    z_mm: tuple[float, float],
) -> None:
    """A Y on its head: in the axial plane two thin limbs run backwards from a ridge; upwards they merge."""
    dx, dy, dz = patient.shift(organ, 2.0)
    region = canvas.region(
        (body_xy[0] + dx - 30, body_xy[1] + dy - 15, z_mm[0] + dz - 8),
        (body_xy[0] + dx + 30, body_xy[1] + dy + 45, z_mm[1] + dz + 8),
    )
    if region is None:
        return
    x, y, z = canvas.positions(region)
    bend = Waves.draw(patient.stream(f"{organ} bend"), (24, 45), 1.4)
    x, y = x - dx + bend.at(x, y, z), y - dy + bend.at(z, x, y)
    height = np.clip((z - dz - z_mm[0]) / (z_mm[1] - z_mm[0]), 0, 1)
    top, bottom = z_mm[1] + dz, z_mm[0] + dz
    gland: Field = np.full(x.shape, 99, np.float32)
    for end_x, end_y in limb_ends_xy:
        # limbs are longest at half height; at the top only the ridge is left
        reach = np.sin(np.pi * np.clip(0.16 + 0.8 * (1 - height), 0, 1)) * 0.95 + 0.05
        gland = np.minimum(gland, _limb(x, y, body_xy, (end_x, end_y), reach.astype(np.float32), 2.5))
    gland = np.minimum(gland, np.hypot(x - body_xy[0], y - body_xy[1]) - np.float32(3.6))
    gland = smooth_max(gland, np.maximum(z - top, bottom - z), 3).astype(np.float32)
    paint_organ(canvas, patient, (region, gland), organ, patient.hu["adrenal gland"], rim_mm=2.2)


def _limb(
    x: Field, y: Field, start: tuple[float, float], end: tuple[float, float], reach: Field, half_mm: float
) -> Field:
    along_x, along_y = end[0] - start[0], end[1] - start[1]
    length = math.hypot(along_x, along_y)
    t = np.clip(((x - start[0]) * along_x + (y - start[1]) * along_y) / length**2, 0, reach)
    distance = np.hypot(x - start[0] - t * along_x, y - start[1] - t * along_y) - half_mm + 0.6 * t
    limb: Field = distance.astype(np.float32)
    return limb
