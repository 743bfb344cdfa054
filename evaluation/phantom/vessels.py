"""The great vessels: aorta and inferior vena cava, which have labels, and the portal vein, which has none."""

import math

import numpy as np

from evaluation.phantom.overlay import moved, paint_organ
from evaluation.phantom.patient import Patient
from evaluation.phantom.shapes import Canvas, Curve, Knot, Waves, paint_tube, smooth_path, tube

_AORTA: tuple[Knot, ...] = (
    (24, -4, 260, 12.5),
    (24, -6, 200, 12.5),
    (20, -12, 150, 12),
    (15, -20, 105, 11.5),
    (10, -30, 60, 10.5),
    (8, -37, 20, 9.8),
    (7, -41, -20, 9.2),
    (6, -42, -60, 8.6),
    (4, -42, -88, 8.4),
)


_INFERIOR_VENA_CAVA: tuple[Knot, ...] = (
    (-16, -36, -92, 10),
    (-19, -37, -50, 10),
    (-21, -39, 0, 10.5),
    (-23, -41, 40, 11),
    (-24, -43, 75, 11.5),
    (-24, -50, 100, 12),
    (-22, -58, 118, 12),
)


_ARTERIES: tuple[tuple[Knot, ...], ...] = (
    ((8, -40, 38, 3.6), (7, -56, 40, 3.4), (-4, -62, 44, 2.8), (-24, -62, 46, 2.4)),
    ((8, -42, 24, 3.8), (5, -60, 8, 3.6), (2, -66, -30, 3.0), (-6, -70, -80, 2.0)),
)
"""The arteries of the liver and of the gut."""

_PORTAL_VEINS: tuple[tuple[Knot, ...], ...] = (
    ((-30, -62, 46, 6.5), (-20, -60, 38, 6.5), (-8, -62, 28, 6.5)),
    ((-8, -62, 28, 5.5), (-9, -68, 0, 5.0), (-10, -74, -40, 4), (-14, -78, -85, 2.5)),
    ((-8, -62, 28, 5.0), (18, -58, 33, 4.6), (46, -38, 42, 4.2), (66, -26, 48, 3.6), (78, -20, 52, 2.4)),
)


def paint_aorta(canvas: Canvas, patient: Patient) -> None:
    """Paint and label the aorta down to its fork; its branches have no label."""
    size = patient.size("aorta", 0.08)
    hu = patient.hu["aorta"]
    path = smooth_path(moved(_AORTA, patient.shift("aorta", 1.5), size), 6)
    for side in (-1, 1):
        branch: list[Knot] = [(4 + side * 4, -42, -88, 5.6), (side * 22, -38, -125, 5.2), (side * 52, -30, -180, 5)]
        paint_tube(canvas, branch, hu, step_mm=7)
    for artery in _ARTERIES:
        paint_tube(canvas, artery, hu - 6, label=0)
    paint_organ(canvas, patient, tube(canvas, path, 2), "aorta", hu)
    calcified = patient.stream("calcification")
    for _ in range(int(calcified.integers(0, 7))):
        _paint_calcification(canvas, path, calcified)


def _paint_calcification(canvas: Canvas, path: Curve, rng: np.random.Generator) -> None:
    x, y, z, radius = path[int(rng.integers(len(path) // 2, len(path)))]
    angle = rng.uniform(0, 2 * np.pi)
    spot: list[Knot] = [
        (x + radius * math.cos(angle), y + radius * math.sin(angle), z - 2.0, 1.3),
        (x + radius * math.cos(angle + 0.5), y + radius * math.sin(angle + 0.5), z + 2.0, 1.0),
    ]
    paint_tube(canvas, spot, 420.0, step_mm=4)


def paint_inferior_vena_cava(canvas: Canvas, patient: Patient) -> None:
    """Paint and label the inferior vena cava, from where the iliac veins meet to the heart."""
    organ = "inferior vena cava"
    size = patient.size(organ, 0.08)
    hu = patient.hu[organ]
    for side in (-1, 1):
        branch: list[Knot] = [(-15 + side * 5.0, -35, -93, 7), (side * 24.0, -26, -130, 6), (side * 54.0, -20, -185, 6)]
        paint_tube(canvas, branch, hu - 8, step_mm=7)
    path = smooth_path(moved(_INFERIOR_VENA_CAVA, patient.shift(organ, 1.5), size), 6)
    found = tube(canvas, path, 2, (1.08, 0.85, 1.0))
    if found is None:
        return
    region, vein = found
    x, y, z = canvas.positions(region)
    mixed = Waves.draw(patient.stream("mixing blood"), (14, 40), 7.0).at(x, y, z) + np.float32(hu)
    # no fat around it: its upper part runs through the liver
    paint_organ(canvas, patient, (region, vein), organ, mixed, rim_mm=0.0)


def paint_portal_vein(canvas: Canvas, patient: Patient) -> None:
    """Paint the portal vein with the veins of gut and spleen that feed it."""
    for knots in _PORTAL_VEINS:
        paint_tube(canvas, knots, patient.hu["portal vein"], label=0)
