"""The bones, and the muscles that are told apart from the body's wall."""

import itertools

import numpy as np
from attention_dmfnet.geometry import Triple

from evaluation.phantom.patient import Patient
from evaluation.phantom.shapes import (
    Canvas,
    Field,
    Knot,
    Region,
    Waves,
    ellipsoid,
    paint_tube,
    smooth_max,
    smooth_path,
    tube,
)
from evaluation.phantom.spaces import DISC_Z_MM, SPINE_Y_MM, SPINE_Z_MM, spine_y, wall_point

_MUSCLES: tuple[tuple[tuple[Knot, ...], Triple], ...] = (
    (((24, 2, 62, 4), (30, -2, 20, 11), (42, -12, -45, 18), (54, -26, -110, 22), (66, -52, -190, 20)), (1, 1, 1)),
    (((56, 34, 44, 9), (64, 34, -10, 11), (72, 34, -70, 12), (80, 36, -112, 9)), (1.5, 0.8, 1)),
    (((11, -22, 92, 4), (13, -16, 50, 4), (14, -20, 10, 3)), (1.3, 1.3, 1)),
    (((30, 66, 250, 16), (31, 58, 120, 17), (34, 42, 30, 20), (33, 36, -60, 20), (28, 52, -150, 16)), (1.4, 1, 1)),
)
"""Of the left side: psoas, quadratus lumborum, crus of the diaphragm, erector spinae."""


def paint_muscles(canvas: Canvas, patient: Patient) -> None:
    """Paint the muscles along the spine."""
    for knots, stretch in _MUSCLES:
        for side in (-1, 1):
            size = patient.size("muscles", 0.1)
            own = [(side * x, y, z, r * size) for x, y, z, r in knots]
            paint_tube(canvas, own, patient.hu["muscle"], step_mm=8, stretch=stretch)


def paint_pelvis(canvas: Canvas, patient: Patient) -> None:
    """Paint the wings of the ilium with the muscles on them, and the sacrum."""
    region = canvas.region((-170, -120, -1e4), (170, 130, -70))
    if region is None:
        return
    x, y, z = canvas.positions(region)
    # the wings of the ilium: plates that open forwards, below a curved crest
    side, forward = np.abs(x), 48 - y
    plate = np.abs(side - 44 - 0.95 * forward + 0.0034 * forward * forward) * np.float32(0.75)
    crest = (z + 84) + 0.007 * (y + 2) ** 2
    wing = smooth_max(plate - 5.0, smooth_max(crest, np.abs(y + 6) - 58, 5), 5)
    flesh = smooth_max(plate - 20, smooth_max(crest + 4, np.abs(y + 2) - 62, 10), 10)
    canvas.paint(region, flesh, patient.hu["muscle"])
    _paint_bone(canvas, patient, region, wing)
    sacrum = ellipsoid(x, y, z, (0, 34, -172), (50, 20, 48))
    _paint_bone(canvas, patient, region, sacrum)


def _paint_bone(canvas: Canvas, patient: Patient, region: Region, bone: Field) -> None:
    canvas.paint(region, bone, patient.hu["cortex"])
    canvas.paint(region, bone + 2.2, patient.hu["bone"])


def paint_spine(canvas: Canvas, patient: Patient) -> None:
    """Paint vertebrae, discs and the spinal canal."""
    region = canvas.region((-70, -60, -1e4), (70, 140, 1e4))
    if region is None:
        return
    x, y, z = canvas.positions(region)
    hu = patient.hu
    v = y - spine_y(z)
    to_disc = np.abs(z - _nearest(z, np.array(DISC_Z_MM, np.float32)))
    grown = 1 + 0.08 * np.clip((20 - z) / 120, -1.2, 1)
    waist = np.float32(2.2) * np.clip(to_disc / 16, 0, 1)
    column = (np.hypot(x / (23 * grown), v / (16.5 * grown)) - 1) * 18 + waist
    # the back of a vertebral body is hollow
    column = smooth_max(column, 15 - np.hypot(x / 1.4, v - 27), 3)
    canvas.paint(region, column, hu["disc"])
    vertebra = smooth_max(column, 4.2 - to_disc, 2)
    texture = Waves.draw(patient.stream("bone"), (7, 16), 22.0, count=6).at(x, y, z)
    canvas.paint(region, vertebra, hu["cortex"] * 0.62)
    canvas.paint(region, vertebra + 1.8, texture + np.float32(hu["bone"]))
    canal = np.hypot(x / 1.25, v - 24) - 9
    arch = np.maximum(np.maximum(canal - 5.5, -canal - 0.5), 3 - v + 6)
    open_between = np.maximum(arch, 9 - to_disc)
    canvas.paint(region, arch, hu["muscle"] + 25)
    _paint_bone(canvas, patient, region, open_between)
    canvas.paint(region, canal + 1, 22.0)
    canvas.paint(region, np.hypot(x / 1.3, v - 24) - 4.5, 42.0)
    _paint_processes(canvas, patient)


def _nearest(z: Field, marks: Field) -> Field:
    order = np.sort(marks)
    borders = (order[:-1] + order[1:]) / 2
    nearest: Field = order[np.digitize(z, borders)]
    return nearest


def _paint_processes(canvas: Canvas, patient: Patient) -> None:
    for lower, upper in itertools.pairwise(DISC_Z_MM):
        z = (lower + upper) / 2
        y = float(np.interp(z, SPINE_Z_MM, SPINE_Y_MM))
        for knots, stretch in (
            ([(0, y + 36, z - 2, 4.5), (0, y + 52, z - 10, 4), (0, y + 62, z - 14, 5)], (0.8, 1, 1.6)),
            ([(15, y + 22, z + 2, 5.5), (28, y + 27, z, 4), (40, y + 30, z, 3.5)], (1, 0.9, 1.2)),
            ([(-15, y + 22, z + 2, 5.5), (-28, y + 27, z, 4), (-40, y + 30, z, 3.5)], (1, 0.9, 1.2)),
            ([(17, y + 30, lower - 8, 6), (17, y + 29, lower + 8, 6)], (1, 1, 1)),
            ([(-17, y + 30, lower - 8, 6), (-17, y + 29, lower + 8, 6)], (1, 1, 1)),
        ):
            found = tube(canvas, smooth_path([(float(a), b, c, float(r)) for a, b, c, r in knots], 8), 1, stretch)
            if found is not None:
                _paint_bone(canvas, patient, *found)


def paint_ribs(canvas: Canvas, patient: Patient) -> None:
    """Paint the ribs in the chest wall, without their cartilage."""
    depth_mm = 7.5
    for rib, head_z in enumerate(DISC_Z_MM[7:]):
        # the two lowest ribs float: they end in the flank
        last_angle = (35.0, 2.0, -30.0)[rib] if rib < 3 else -52.0
        for side in (-1, 1):
            knots: list[Knot] = [(side * 24.0, float(np.interp(head_z, SPINE_Z_MM, SPINE_Y_MM)) + 14, head_z, 3.8)]
            for angle in np.arange(68.0, last_angle - 1, -10.0):
                z = head_z - 0.85 * (72 - float(angle))
                x, y = wall_point(float(angle), z, depth_mm + 6 * max(0.0, (angle - 40) / 30))
                knots.append((side * x, y, z, 4.3))
            path = smooth_path(knots, 7)
            found = tube(canvas, path, 1, (0.85, 0.85, 1.35))
            if found is not None:
                _paint_bone(canvas, patient, *found)
