"""Skin, fat and the muscles of the wall; the table that the patient lies on."""

import numpy as np

from evaluation.phantom.patient import Patient
from evaluation.phantom.shapes import Canvas, Waves
from evaluation.phantom.spaces import Body


def paint_soft_wall(canvas: Canvas, patient: Patient, body: Body) -> None:
    """Paint skin, fat, muscle, the fat of the abdomen and the diaphragm."""
    region, hu = canvas.everywhere, patient.hu
    x, y, z = canvas.positions(region)
    canvas.paint(region, body.skin, hu["skin"])
    fat = Waves.draw(patient.stream("fat"), (15, 40), 5.0, count=6).at(x, y, z) + np.float32(hu["fat"])
    canvas.paint(region, body.skin + 2, fat)
    streaks = Waves.draw(patient.stream("muscle"), (4, 13), 9.0, count=6).at(x, y, z) + np.float32(hu["muscle"])
    # thin fat between the three layers of the flank
    flank = np.clip(np.abs(x) / 40 - 2, 0, 1) * np.clip((60 - z) / 30, 0, 1) * np.clip((30 - y) / 20, 0, 1)
    for depth_mm in (3.6, 7.4):
        streaks -= np.float32(70) * flank * np.exp(-(((body.muscle + depth_mm) / 0.7) ** 2))
    canvas.paint(region, np.maximum(body.muscle, -body.cavity - 1), streaks)
    canvas.paint(region, body.cavity, fat)
    canvas.paint(region, np.maximum(body.cavity, np.abs(body.below_diaphragm) - 1.6), hu["muscle"])


def paint_table(canvas: Canvas, patient: Patient) -> None:
    """Paint the hollow table under the back."""
    region = canvas.region((-230, 60, -1e4), (230, 200, 1e4))
    if region is None:
        return
    x, y, _ = canvas.positions(region)
    top = np.float32(79 + patient.fat_mm * 0.65 + 8) - x * x * np.float32(1 / 1500)
    inside = np.maximum(np.maximum(top - y, y - top - 38 + x * x * np.float32(1 / 2600)), np.abs(x) - 205)
    canvas.paint(region, inside, -880)
    canvas.paint(region, np.maximum(inside, -inside - 2.6), 90)
