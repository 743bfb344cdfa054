"""The pancreas: a lobulated band from the loop of the duodenum to the spleen."""

import numpy as np

from evaluation.phantom.overlay import LABEL, moved, paint_organ
from evaluation.phantom.patient import Patient
from evaluation.phantom.shapes import Canvas, Found, Knot, Waves, paint_tube, smooth_path, tube

_PANCREAS: tuple[Knot, ...] = (
    (-26, -58, -24, 8),
    (-32, -62, -8, 13),
    (-32, -66, 10, 13.5),
    (-18, -73, 22, 10),
    (2, -76, 30, 9.5),
    (22, -68, 36, 9.5),
    (42, -51, 42, 9.5),
    (58, -37, 48, 9),
    (70, -29, 53, 6.5),
)


_CROSSING_VESSELS: tuple[tuple[Knot, ...], ...] = (
    ((-9, -66, 22, 5.2), (-10, -68, 2, 5.0), (-10, -71, -24, 4.4)),
    ((4, -62, 6, 3.4), (2, -66, -24, 3.0)),
)
"""The superior mesenteric vein and artery: the gland lies around them."""


def pancreas_solid(canvas: Canvas, patient: Patient) -> Found | None:
    """The pancreas, without its lobules."""
    path = smooth_path(moved(_PANCREAS, patient.shift("pancreas", 2.5), patient.size("pancreas", 0.08)), 5)
    return tube(canvas, path, 6, (1.0, 0.86, 1.12))


def paint_pancreas(canvas: Canvas, patient: Patient) -> None:
    """Paint and label the pancreas, and the vessels of the gut that cross it."""
    rng = patient.stream("pancreas")
    found = pancreas_solid(canvas, patient)
    if found is None:
        return
    region, pancreas = found
    x, y, z = canvas.positions(region)
    # lobules, with fat in the clefts between them
    lobules = Waves.draw(rng, (8, 16), float(rng.uniform(0.8, 1.8)), count=7).at(x, y, z)
    pancreas = pancreas + lobules + Waves.draw(rng, (25, 50), 1.5).at(x, y, z)
    # the great vessels behind the gland stay whole
    vessel = np.isin(canvas.labels[region], (LABEL["aorta"], LABEL["inferior vena cava"]))
    pancreas = np.where(vessel, np.maximum(pancreas, 4), pancreas).astype(np.float32)
    hu = np.float32(patient.hu["pancreas"]) - np.float32(7) * lobules
    paint_organ(canvas, patient, (region, pancreas), "pancreas", hu)
    for knots in _CROSSING_VESSELS:
        paint_tube(canvas, knots, patient.hu["portal vein"], label=0)
