"""Colon, small bowel and the vessels of their fat: what fills the abdomen around the organs."""

import math

import numpy as np

from evaluation.phantom.patient import Patient
from evaluation.phantom.shapes import Canvas, Field, Knot, Region, Waves, paint_tube, smooth_max, smooth_path, tube
from evaluation.phantom.spaces import Body

_COLON: tuple[Knot, ...] = (
    (-78, -40, -135, 22),
    (-98, -42, -100, 23),
    (-106, -40, -60, 21),
    (-104, -48, -28, 20),
    (-92, -76, -20, 19),
    (-70, -104, -34, 19),
    (-30, -112, -48, 19),
    (20, -112, -46, 19),
    (62, -104, -18, 18),
    (92, -74, 18, 17),
    (110, -46, 34, 16),
    (116, -30, 10, 14),
    (114, -22, -40, 13),
    (112, -24, -90, 13),
    (98, -36, -130, 14),
    (70, -44, -165, 15),
    (20, -30, -190, 15),
)


def paint_bowel(canvas: Canvas, patient: Patient, body: Body) -> None:
    """Paint the bowel, without labels."""
    _paint_mesentery(canvas, patient)
    _paint_small_bowel(canvas, patient, body)
    _paint_colon(canvas, patient, body)


def _paint_mesentery(canvas: Canvas, patient: Patient) -> None:
    rng = patient.stream("mesentery")
    for _ in range(46):
        start = (rng.normal(-4, 6), rng.normal(-66, 4), rng.uniform(-60, 8))
        end = (rng.uniform(-85, 95), rng.uniform(-105, -60), rng.uniform(-150, 0))
        middle = [(a + b) / 2 + rng.normal(0, 10) for a, b in zip(start, end, strict=True)]
        knots: list[Knot] = [(*start, 2.2), (middle[0], middle[1], middle[2], 1.6), (*end, 1.0)]
        paint_tube(canvas, knots, patient.hu["blood"] - 30, step_mm=10)


def _paint_small_bowel(canvas: Canvas, patient: Patient, body: Body) -> None:
    """Loops in layers from the pelvis up to the pancreas, each a winding tube with its own radius and contents."""
    rng = patient.stream("small bowel")
    for layer in range(11):
        z = -158 + layer * 15.0
        for row in range(3):
            _paint_loop(canvas, patient, body, rng, z, row)


def _paint_loop(canvas: Canvas, patient: Patient, body: Body, rng: np.random.Generator, z: float, row: int) -> None:
    phase, radius = rng.uniform(0, 2 * np.pi), rng.uniform(9, 13)
    knots: list[Knot] = []
    # the upper loops (jejunum) lie on the left
    left = -72 + np.clip((z + 80) / 80, 0, 1) * 80
    for step, x in enumerate(np.arange(left, 102, 13.0)):
        y = -44 - 25 * row + 9 * math.sin(phase + step * 1.3) + rng.normal(0, 3) + 0.0016 * x * x
        knots.append((float(x), y, z + 8 * math.cos(phase * 2 + step * 1.7) + rng.normal(0, 2), radius))
    contents = float(rng.uniform(10, 60))
    gassy = rng.random() < 0.3
    found = tube(canvas, smooth_path(knots, 6), 3)
    folds = Waves.draw(rng, (6, 12), 1.1, count=6)
    narrow = Waves.draw(rng, (22, 40), 2.4)
    pockets = Waves.draw(rng, (30, 60), 5.0)
    if found is None:
        return
    region, loop = found
    x, y, zz = canvas.positions(region)
    loop = smooth_max(loop + narrow.at(x, y, zz), body.cavity[region] + 2.5, 5)
    canvas.paint(region, loop - 0.9, patient.hu["fat"])
    canvas.paint(region, loop, patient.hu["bowel wall"] + 8)
    lumen = loop + 2.8 + folds.at(x, y, zz)
    canvas.paint(region, lumen, contents)
    if gassy:
        canvas.paint(region, np.maximum(lumen + 0.5, pockets.at(x, y, zz) + 3), patient.hu["gas"])


def _paint_colon(canvas: Canvas, patient: Patient, body: Body) -> None:
    rng = patient.stream("colon")
    size = patient.size("colon", 0.12)
    shift = patient.shift("colon", 4.0)
    moved = [(x + shift[0] * 0.5, y + shift[1], z + shift[2], r) for x, y, z, r in _COLON]
    knots = [(x, y, z, r * size * rng.uniform(0.8, 1.1)) for x, y, z, r in moved]
    path = smooth_path(knots, 5)
    # haustra: the tube is pinched every three or four centimetres
    path[:, 3] *= 1 + 0.12 * np.sin(np.arange(len(path)) * 5 * 2 * np.pi / 34)
    found = tube(canvas, path, 4)
    if found is None:
        return
    region, colon = found
    x, y, z = canvas.positions(region)
    colon = colon + Waves.draw(rng, (18, 40), 2.0).at(x, y, z)
    colon = smooth_max(smooth_max(colon, body.cavity[region] + 3, 6), body.below_diaphragm[region] + 4, 6)
    canvas.paint(region, colon - 0.9, patient.hu["fat"])
    canvas.paint(region, colon, patient.hu["bowel wall"] - 18)
    _fill_colon(canvas, patient, region, colon + 2.4, rng)


def _fill_colon(canvas: Canvas, patient: Patient, region: Region, lumen: Field, rng: np.random.Generator) -> None:
    x, y, z = canvas.positions(region)
    crumbs = Waves.draw(rng, (5, 11), 60.0, count=8).at(x, y, z)
    canvas.paint(region, lumen, np.float32(patient.hu["stool"] + 60) + crumbs)
    bubbles = Waves.draw(rng, (6, 14), 1.0, count=8).at(x, y, z)
    canvas.paint(region, np.maximum(lumen + 1.5, (1.15 - bubbles) * 3), patient.hu["gas"] * 0.7)
    # gas gathers where the colon runs at the front
    level = np.float32(-108 + rng.normal(0, 6)) + Waves.draw(rng, (60, 120), 12.0).at(x, y * 0, z)
    canvas.paint(region, np.maximum(lumen, y - level), patient.hu["gas"])
