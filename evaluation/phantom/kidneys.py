"""The kidneys: beans beside the spine, open to the front and the middle, with their vessels."""

import numpy as np
from attention_dmfnet.geometry import Triple

from evaluation.phantom.overlay import paint_organ
from evaluation.phantom.patient import Patient
from evaluation.phantom.shapes import Canvas, Field, Knot, Waves, ellipsoid, paint_tube, smooth_max, smooth_min, turned


def paint_kidney(canvas: Canvas, patient: Patient, side: int) -> None:
    """Paint and label the kidney of one side: 1 is the patient's left, -1 the right."""
    organ = "left kidney" if side > 0 else "right kidney"
    dx, dy, dz = patient.shift(organ, 3.5)
    size = patient.size("kidneys", 0.05) * patient.size(organ, 0.03)
    centre = (62.0 + side * dx, 0.0 + dy, (6.0 if side > 0 else -6.0) + dz)
    region = canvas.region(
        (min(side * 10.0, side * 120.0), -55, centre[2] - 80), (max(side * 10.0, side * 120.0), 60, centre[2] + 80)
    )
    if region is None:
        return
    x, y, z = canvas.positions(region)
    # mirrored to the left side: u points outwards, v backwards, w up along the kidney, whose upper pole leans inwards
    u, w = turned(x * side - centre[0], z - centre[2], 13)
    v, w = turned(y - centre[1], w, 8)
    u, v = turned(u, v, 32)
    bent = u - w * w * np.float32(0.0035) + 4
    kidney = ellipsoid(bent, v, w, (0, 0, 0), (29 * size, 24.5 * size, 55 * size))
    sinus = ellipsoid(bent, v, w, (-19, 0, 0), (20 * size, 9 * size, 24 * size))
    sinus = smooth_min(sinus, ellipsoid(bent, v, w, (-34, 0, 0), (18, 12, 17)), 8)
    bumps = Waves.draw(patient.stream(f"{organ} surface"), (16, 34), 1.0).at(x, y, z)
    solid = smooth_max(kidney + bumps, -(sinus + bumps * 1.6), 4)
    canvas.paint(region, kidney - 7, patient.hu["fat"], label=0)
    hu = np.float32(patient.hu["kidney"])
    pyramids = Waves.draw(patient.stream(f"{organ} pyramids"), (13, 20), 1.0, count=6).at(x, y, z)
    medulla = np.clip((-kidney - 5.5) / 3, 0, 1) * np.clip(pyramids * 2 + 0.6, 0, 1)
    paint_organ(canvas, patient, (region, solid), organ, (hu + 10 - 34 * medulla).astype(np.float32))
    pelvis = ellipsoid(bent, v, w, (-20, 0, 0), (13, 4.5, 13))
    canvas.paint(region, np.maximum(pelvis, -solid), 18.0)
    _paint_renal_vessels(canvas, patient, side, centre)


def kidney_bed(x: Field, y: Field, z: Field, side: int) -> Field:
    """The fat around and behind a kidney, where neither liver nor spleen reaches."""
    return ellipsoid(x * side, y, z, (56, 24, 0), (36, 42, 62))


def _paint_renal_vessels(canvas: Canvas, patient: Patient, side: int, centre: Triple) -> None:
    hilum = (side * (centre[0] - 18), centre[1] - 12, centre[2] + 2)
    vein: list[Knot] = [(*hilum, 4.5), (side * 34.0, -30.0, 12.0, 5.0)]
    vein += [(6.0, -51.0, 16.0, 4.5), (-16.0, -44.0, 18.0, 4.5)] if side > 0 else [(-22.0, -36.0, 14.0, 4.5)]
    artery: list[Knot] = [(hilum[0], hilum[1] + 7, hilum[2], 2.4), (side * 30.0, -22.0, 10.0, 2.6), (5, -34, 18, 3)]
    for knots, tissue in ((vein, "inferior vena cava"), (artery, "aorta")):
        paint_tube(canvas, knots, patient.hu[tissue], label=0)
