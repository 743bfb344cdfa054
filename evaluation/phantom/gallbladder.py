"""The gallbladder: a pear of bile under the liver."""

from evaluation.phantom.overlay import moved, paint_organ
from evaluation.phantom.patient import Patient
from evaluation.phantom.shapes import Canvas, Knot, smooth_path, tube

_GALLBLADDER: tuple[Knot, ...] = (
    (-52, -64, 40, 3.0),
    (-56, -70, 32, 6.5),
    (-63, -80, 20, 12),
    (-69, -90, 6, 13.5),
)


def paint_gallbladder(canvas: Canvas, patient: Patient) -> None:
    """Paint and label the gallbladder, wall and bile."""
    size = patient.size("gallbladder", 0.15)
    found = tube(canvas, smooth_path(moved(_GALLBLADDER, patient.shift("gallbladder", 2.5), size), 4), 3)
    if found is None:
        return
    region, gallbladder = found
    paint_organ(canvas, patient, found, "gallbladder", patient.hu["bladder wall"], rim_mm=0.3)
    canvas.paint(region, gallbladder + 1.4, patient.hu["bile"])
