"""The spleen: a crescent along the left ribs, hollow towards the stomach."""

import numpy as np

from evaluation.phantom.kidneys import kidney_bed
from evaluation.phantom.overlay import paint_organ
from evaluation.phantom.patient import Patient
from evaluation.phantom.shapes import Canvas, Waves, ellipsoid, smooth_max, turned
from evaluation.phantom.spaces import Body


def paint_spleen(canvas: Canvas, patient: Patient, body: Body) -> None:
    """Paint and label the spleen."""
    region = canvas.region((10, -100, -40), (170, 90, 150))
    if region is None:
        return
    x, y, z = canvas.positions(region)
    dx, dy, dz = patient.shift("spleen", 3.0)
    size = patient.size("spleen", 0.1)
    # the long axis follows the tenth rib: up and back, down and forward
    v, w = turned(y - (2 + dy), z - (54 + dz), -28)
    whole = ellipsoid(x - (92 + dx), v, w, (0, 0, 0), (46 * size, 44 * size, 58 * size))
    hollow = ellipsoid(x - (92 + dx), v, w, (-48 * size, -14, 0), (38, 44, 70))
    spleen = smooth_max(smooth_max(whole, body.cavity[region] + 2.5, 8), body.below_diaphragm[region] + 3.5, 8)
    spleen = smooth_max(smooth_max(spleen, -hollow, 10), -kidney_bed(x, y, z, 1), 8)
    spleen += Waves.draw(patient.stream("spleen surface"), (25, 50), 1.2).at(x, y, z)
    hu = np.float32(patient.hu["spleen"]) + Waves.draw(patient.stream("spleen"), (12, 30), 2.0).at(x, y, z)
    paint_organ(canvas, patient, (region, spleen), "spleen", hu)
