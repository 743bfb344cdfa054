"""The liver: a wedge under the right dome of the diaphragm, with its vessels and the cleft of the round ligament."""

import numpy as np
from attention_dmfnet.geometry import Triple

from evaluation.phantom.kidneys import kidney_bed
from evaluation.phantom.overlay import LABEL, paint_organ
from evaluation.phantom.patient import Patient
from evaluation.phantom.shapes import Canvas, Field, Knot, Waves, smooth_max, smooth_path, tube
from evaluation.phantom.spaces import Body

_LIVER_BACK_XY = (
    (-160, 90),
    (-82, 62),
    (-58, 30),
    (-40, -8),
    (-22, -28),
    (0, -46),
    (28, -64),
    (58, -84),
    (90, -112),
    (130, -150),
)
"""Where the liver ends towards the back, seen from above (mm)."""

_LIVER_BELOW_XZ = ((-160, -46), (-112, -38), (-88, -22), (-66, -4), (-46, 20), (-30, 35), (0, 42), (35, 52), (65, 74))
"""Where the liver ends downwards, seen from the front (mm)."""


def paint_liver(canvas: Canvas, patient: Patient, body: Body) -> None:
    """Paint and label the liver: what lies under the diaphragm and above and before two tabled surfaces."""
    region = canvas.region((-170, -160, -80), (130, 80, 160))
    if region is None:
        return
    x, y, z = canvas.positions(region)
    shift = patient.shift("liver", 5.0)
    back_x, back_y = np.array(_LIVER_BACK_XY, np.float64).T
    # below the hilum the left lobe lies further forward, before the stomach and the pancreas
    forward = np.clip(72 - z, 0, 60) * np.clip((x + 55) / 40, 0, 1) * np.float32(0.5)
    back = (y + forward - np.interp(x - shift[0] * 0.5, back_x, back_y)) * np.float32(0.72)
    below_x, below_z = np.array(_LIVER_BELOW_XZ, np.float64).T
    lower = np.interp(x - shift[0], below_x, below_z) + shift[2] - np.float32(0.12) * (y + 50)
    below = (lower - z) * np.float32(0.78)
    outer = smooth_max(body.cavity[region] + 1.8, body.below_diaphragm[region] + 2.2, 5)
    visceral = smooth_max(back.astype(np.float32), below.astype(np.float32), 16)
    liver = smooth_max(outer, visceral, 10)
    liver = smooth_max(liver, -_fissure(x, y, z, shift), 4)
    liver = smooth_max(liver, -kidney_bed(x, y, z, -1), 10)
    liver += Waves.draw(patient.stream("liver surface"), (25, 60), 1.3).at(x, y, z)
    hu = np.float32(patient.hu["liver"]) + Waves.draw(patient.stream("liver"), (10, 30), 2.5).at(x, y, z)
    paint_organ(canvas, patient, (region, liver), "liver", hu)
    _paint_liver_vessels(canvas, patient)


def _fissure(x: Field, y: Field, z: Field, shift: Triple) -> Field:
    """The cleft of the round ligament in the left lobe: a wedge of fat that opens forwards and downwards."""
    half_width = np.clip((58 - z) / 30, -2, 1.2) * 3 + np.clip((-60 - y) / 60, 0, 1) * 2
    cleft = np.abs(x + 14 - shift[0] + (y + 90) * np.float32(0.15)) - half_width
    wedge: Field = cleft.astype(np.float32)
    return smooth_max(wedge, z - 64, 6)


_LIVER_VESSELS: tuple[tuple[Knot, ...], ...] = (
    ((-24, -50, 103, 6.0), (-48, -48, 96, 5.0), (-80, -40, 80, 4.0), (-102, -30, 58, 2.2)),
    ((-24, -53, 104, 5.5), (-38, -75, 92, 4.5), (-52, -95, 72, 3.5), (-62, -105, 50, 2.0)),
    ((-22, -54, 104, 5.5), (-5, -75, 96, 4.0), (20, -90, 86, 2.8), (45, -98, 78, 1.6)),
    ((-30, -62, 46, 7.0), (-50, -62, 55, 6.0), (-72, -58, 60, 4.6), (-98, -50, 62, 3.0), (-116, -45, 56, 1.6)),
    ((-60, -60, 58, 4.5), (-78, -40, 44, 3.5), (-92, -20, 24, 2.4), (-100, -10, 2, 1.5)),
    ((-60, -60, 58, 4.0), (-75, -82, 60, 3.2), (-92, -92, 50, 2.0)),
    ((-32, -63, 48, 6.0), (-20, -82, 62, 4.6), (-6, -96, 70, 3.6), (20, -100, 76, 2.4), (48, -105, 80, 1.5)),
)
"""Three hepatic veins, and the branches of the portal vein."""


def _paint_liver_vessels(canvas: Canvas, patient: Patient) -> None:
    rng = patient.stream("liver vessels")
    for knots in _LIVER_VESSELS:
        bent = [(x + rng.normal(0, 3), y + rng.normal(0, 3), z + rng.normal(0, 3), r) for x, y, z, r in knots]
        found = tube(canvas, smooth_path(bent, 6), 1)
        if found is None:
            continue
        region, vessel = found
        # outside the liver the portal vein is painted as such
        inside = canvas.labels[region] == LABEL["liver"]
        canvas.paint(region, np.where(inside, vessel, 9).astype(np.float32), patient.hu["portal vein"] - 4)
