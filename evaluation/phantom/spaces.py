"""The spaces of the body: outline, wall, cavity, diaphragm, and the course of the spine."""

from dataclasses import dataclass

import numpy as np

from evaluation.phantom.patient import Patient
from evaluation.phantom.shapes import Canvas, Field, smooth_max

_OUTLINE_Z_MM = (-260, -200, -150, -100, -50, 0, 50, 100, 150, 200, 260)
_HALF_WIDTH_MM = (172, 176, 172, 163, 155, 154, 157, 160, 161, 163, 166)
_HALF_DEPTH_MM = (112, 112, 108, 104, 103, 105, 108, 112, 114, 114, 110)
_MIDDLE_Y_MM = (-22, -22, -26, -29, -31, -31, -29, -26, -22, -18, -16)

SPINE_Z_MM = (-260, -180, -140, -100, -50, 0, 60, 120, 170, 240)
SPINE_Y_MM = (52, 28, 2, -10, -10, -4, 8, 20, 28, 30)
"""Height (y) of the centres of the vertebral bodies, from the sacrum to the chest."""

DISC_Z_MM = (-222, -186, -142, -106, -70, -34, 1, 35, 67, 97, 125, 152, 178, 203, 227, 251)
"""Discs from the sacrum upwards; the one at 1 mm lies between the first and the second lumbar vertebra."""


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """Nested spaces on a canvas, as fields (mm, < 0 inside).

    ``skin`` is the whole body, ``muscle`` is it without the fat under the skin, ``cavity`` what the muscles of the wall
    enclose. ``below_diaphragm`` is less than 0 in the abdomen and greater in the chest.
    """

    skin: Field
    muscle: Field
    cavity: Field
    below_diaphragm: Field


def spine_y(z: Field) -> Field:
    """Height (y, mm) of the centre of the spine at z."""
    return np.interp(z, SPINE_Z_MM, SPINE_Y_MM).astype(np.float32)


def wall_point(angle: float, z: float, depth_mm: float) -> tuple[float, float]:
    """x, y (mm) of the point ``depth_mm`` under the skin (without its fat); angle 0 is the left side, 90 the back."""
    width = np.interp(z, _OUTLINE_Z_MM, _HALF_WIDTH_MM)
    height = np.interp(z, _OUTLINE_Z_MM, _HALF_DEPTH_MM)
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    radius = (np.abs(cos / width) ** 2.2 + np.abs(sin / height) ** 2.2) ** (-1 / 2.2) - depth_mm
    return float(radius * cos), float(radius * sin + np.interp(z, _OUTLINE_Z_MM, _MIDDLE_Y_MM))


def body_spaces(canvas: Canvas, patient: Patient) -> Body:
    """The patient's spaces on the whole canvas."""
    x, y, z = canvas.x, canvas.y, canvas.z
    width, height, middle = (
        np.interp(z, _OUTLINE_Z_MM, table).astype(np.float32)
        for table in (_HALF_WIDTH_MM, _HALF_DEPTH_MM, _MIDDLE_Y_MM)
    )
    v = y - middle
    far = np.sqrt(x * x + v * v) + np.float32(1e-3)
    power = np.float32(2.2)
    outline = (np.abs(x / width) ** power + np.abs(v / height) ** power) ** (1 / power)
    muscle = far - far / np.maximum(outline, np.float32(1e-4))
    del outline, width, height
    back, front = np.clip(v / far, 0, 1), np.clip(-v / far, 0, 1)
    # the furrow of the back, and fat that is thickest at the flanks
    muscle += 7 * back * np.exp(-((x / 16) ** 2)).astype(np.float32)
    skin = muscle - patient.fat_mm * (1 - 0.35 * back * back)
    chest = np.clip((z - 40) / 50, 0, 1)
    cavity = muscle + 11 + 3 * chest + (20 - 6 * chest) * back**3 - 2 * front**2
    reach = far / np.maximum(far - cavity, np.float32(1))
    return Body(skin, muscle, cavity, np.float32(0.8) * (z - _diaphragm(x, y, reach, front, patient)))


def _diaphragm(x: Field, y: Field, reach: Field, front: Field, patient: Patient) -> Field:
    """Height (z, mm) of the diaphragm: two domes that fall steeply to the chest wall, least at the front."""
    dx, dy, dz = patient.shift("diaphragm", 4.0)
    right = 123 - ((x + 70 + dx) ** 2 + (y + 36 + dy) ** 2) * np.float32(1 / 170)
    left = 111 - ((x - 70 + dx) ** 2 + (y + 34 + dy) ** 2) * np.float32(1 / 160)
    domes = smooth_max(smooth_max(right, left, 8), 86, 12)
    fall = (62 - 56 * front * front) * np.clip(reach, 0, 1.15) ** 7
    height: Field = domes + np.float32(dz) - fall
    return height
