"""Lungs with their vessels, and the heart between them."""

import numpy as np

from evaluation.phantom.patient import Patient
from evaluation.phantom.shapes import Canvas, Field, Knot, Waves, ellipsoid, smooth_max, smooth_min, smooth_path, tube
from evaluation.phantom.spaces import Body, spine_y


def paint_lungs(canvas: Canvas, patient: Patient, body: Body) -> None:
    """Paint both lungs above the diaphragm, and the heart."""
    if canvas.region((-200, -180, 0), (200, 120, 1e4)) is None:
        return
    region, hu = canvas.everywhere, patient.hu
    x, y, z = canvas.positions(region)
    lung = smooth_max(body.cavity + 1.5, 2.0 - body.below_diaphragm, 4)
    lung = smooth_max(lung, -_mediastinum(x, y, z), 6)
    density = np.float32(hu["lung"]) + np.clip(y + 20, 0, 60) * np.float32(1.2)
    density += Waves.draw(patient.stream("lung"), (8, 25), 14.0, count=6).at(x, y, z)
    canvas.paint(region, lung, density)
    rng = patient.stream("lung vessels")
    for side in (-1, 1):
        for _ in range(34):
            _paint_lung_vessel(canvas, lung, rng, side)
    _paint_heart(canvas, patient, body)


def _mediastinum(x: Field, y: Field, z: Field) -> Field:
    spine = np.hypot((x - 2) / 1.25, y - spine_y(z) + 8) - np.float32(26)
    vessels = np.hypot((x - 10) / 1.2, y + 25) - np.float32(24)
    heart = ellipsoid(x, y, z, (22, -72, 158), (68, 56, 62))
    return smooth_min(smooth_min(spine, vessels, 8), heart, 8)


def _paint_lung_vessel(canvas: Canvas, lung: Field, rng: np.random.Generator, side: int) -> None:
    start = np.array([side * 42.0, -18.0, 205.0])
    end = np.array([side * rng.uniform(45, 130), rng.uniform(-95, 55), rng.uniform(45, 140)])
    bend = rng.normal(0, 12, 3)
    knots: list[Knot] = [
        (start[0], start[1], start[2], 3.4),
        (*((start + end) / 2 + bend).tolist(), 2.2),
        (end[0], end[1], end[2], 0.9),
    ]
    found = tube(canvas, smooth_path(knots, 12), margin_mm=1)
    if found is None:
        return
    touched, vessel = found
    # vessels stay inside the lung: elsewhere they would look like spots in the liver
    canvas.paint(touched, np.maximum(vessel, lung[touched]), 45.0)


def _paint_heart(canvas: Canvas, patient: Patient, body: Body) -> None:
    region = canvas.region((-60, -140, 80), (100, 0, 260))
    if region is None:
        return
    x, y, z = canvas.positions(region)
    hu = patient.hu
    above = 2.5 - body.below_diaphragm[region]
    inside = np.maximum(body.cavity[region] + 4, above)
    outer = ellipsoid(x, y, z, (22, -72, 158), (62, 50, 56))
    canvas.paint(region, smooth_max(outer, inside, 6), hu["muscle"] + 55)
    for centre, radii in (
        ((44.0, -66.0, 158.0), (26.0, 24.0, 38.0)),
        ((2.0, -96.0, 160.0), (30.0, 17.0, 38.0)),
        ((-24.0, -70.0, 160.0), (17.0, 26.0, 38.0)),
        ((14.0, -42.0, 176.0), (30.0, 15.0, 26.0)),
    ):
        canvas.paint(region, np.maximum(ellipsoid(x, y, z, centre, radii), inside + 3), hu["blood"])
