"""The upper gut: esophagus, stomach and duodenum, with fluid, folds and gas."""

import numpy as np

from evaluation.phantom.overlay import moved, paint_organ
from evaluation.phantom.pancreas import pancreas_solid
from evaluation.phantom.patient import Patient
from evaluation.phantom.shapes import Canvas, Found, Knot, Waves, seen_from, smooth_max, smooth_path, tube
from evaluation.phantom.spaces import Body

_STOMACH: tuple[Knot, ...] = (
    (50, -34, 86, 28),
    (56, -42, 74, 34),
    (59, -58, 54, 34),
    (56, -78, 34, 29),
    (36, -90, 16, 24),
    (10, -95, 8, 20),
    (-14, -92, 10, 16),
    (-30, -84, 16, 12),
    (-40, -78, 20, 8),
)


_ESOPHAGUS: tuple[Knot, ...] = (
    (2, -18, 260, 7.5),
    (4, -22, 200, 7.5),
    (8, -34, 150, 7.5),
    (12, -42, 118, 8),
    (19, -46, 102, 8),
    (29, -46, 92, 8),
)


_DUODENUM: tuple[Knot, ...] = (
    (-41, -77, 21, 9),
    (-50, -68, 24, 11),
    (-54, -57, 14, 10.5),
    (-53, -51, -8, 10.5),
    (-50, -49, -28, 10.5),
    (-38, -51, -42, 10.5),
    (-16, -56, -46, 9.5),
    (6, -59, -44, 8.5),
    (24, -57, -34, 9),
    (32, -55, -16, 9),
    (36, -62, -6, 9),
)


def stomach_solid(canvas: Canvas, patient: Patient, body: Body) -> Found | None:
    """The stomach: under the diaphragm, before the pancreas."""
    size = patient.size("stomach", 0.12)
    found = tube(canvas, smooth_path(moved(_STOMACH, patient.shift("stomach", 3.0), size), 5), 4)
    if found is None:
        return None
    region, stomach = found
    stomach = stomach + Waves.draw(patient.stream("stomach surface"), (30, 60), 2.2).at(*canvas.positions(region))
    stomach = smooth_max(smooth_max(stomach, body.cavity[region] + 3, 6), body.below_diaphragm[region] + 4, 6)
    # the pancreas lies behind the stomach, however full that is
    return region, smooth_max(stomach, 3.0 - seen_from(region, pancreas_solid(canvas, patient)), 6)


def paint_stomach(canvas: Canvas, patient: Patient, found: Found | None) -> None:
    """Paint and label the stomach: wall, food, gas."""
    if found is None:
        return
    region, stomach = found
    rng = patient.stream("stomach")
    x, y, z = canvas.positions(region)
    paint_organ(canvas, patient, (region, stomach), "stomach", patient.hu["bowel wall"])
    folds = Waves.draw(rng, (9, 16), 1.1, count=6).at(x, y, z)
    lumen = stomach + 4.2 + folds
    food = np.float32(rng.uniform(5, 45)) + Waves.draw(rng, (5, 14), float(rng.uniform(2, 22)), count=6).at(x, y, z)
    canvas.paint(region, lumen, food)
    # the patient lies on the back: gas floats to the front, above a level surface of fluid
    level_mm = np.float32(-92 + rng.normal(0, 7))
    canvas.paint(region, np.maximum(lumen, y - level_mm), patient.hu["gas"])


def paint_esophagus(canvas: Canvas, patient: Patient, stomach: Found | None) -> None:
    """Paint and label the esophagus, down to the stomach."""
    path = smooth_path(moved(_ESOPHAGUS, patient.shift("esophagus", 1.5), patient.size("esophagus", 0.08)), 5)
    found = tube(canvas, path, 2, (1.15, 0.8, 1.0))
    if found is None:
        return
    region, esophagus = found
    # it ends where the stomach begins
    esophagus = np.maximum(esophagus, -seen_from(region, stomach))
    paint_organ(canvas, patient, (region, esophagus), "esophagus", patient.hu["esophagus"], rim_mm=0.0)
    rng = patient.stream("swallowed air")
    for _ in range(int(rng.integers(0, 4))):
        start = int(rng.integers(0, max(1, len(path) - 6)))
        bubble = path[start : start + 5].copy()
        bubble[:, 3] = rng.uniform(1.2, 3.2)
        air = tube(canvas, bubble, 1)
        if air is not None:
            canvas.paint(*air, patient.hu["gas"] * 0.8)


def paint_duodenum(canvas: Canvas, patient: Patient) -> None:
    """Paint and label the duodenum: a loop from the stomach around the pancreas's head."""
    rng = patient.stream("duodenum")
    size = patient.size("duodenum", 0.08)
    found = tube(canvas, smooth_path(moved(_DUODENUM, patient.shift("duodenum", 2.0), size), 5), 3)
    if found is None:
        return
    region, duodenum = found
    x, y, z = canvas.positions(region)
    duodenum = duodenum + Waves.draw(rng, (14, 28), 1.3).at(x, y, z)
    paint_organ(canvas, patient, (region, duodenum), "duodenum", patient.hu["bowel wall"])
    lumen = duodenum + 3.2 + Waves.draw(rng, (6, 11), 1.2, count=6).at(x, y, z)
    canvas.paint(region, lumen, float(rng.uniform(15, 45)))
    bubbles = Waves.draw(rng, (18, 40), 6.0).at(x, y, z) + np.float32(rng.uniform(2, 9))
    canvas.paint(region, np.maximum(lumen + 1, bubbles), patient.hu["gas"])
