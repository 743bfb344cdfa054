"""Everything but the contents of the abdomen."""

from evaluation.phantom.chest import paint_lungs
from evaluation.phantom.patient import Patient
from evaluation.phantom.shapes import Canvas
from evaluation.phantom.skeleton import paint_muscles, paint_pelvis, paint_ribs, paint_spine
from evaluation.phantom.spaces import Body, body_spaces
from evaluation.phantom.wall import paint_soft_wall, paint_table


def paint_body(canvas: Canvas, patient: Patient) -> Body:
    """Paint everything but the contents of the abdomen."""
    body = body_spaces(canvas, patient)
    paint_table(canvas, patient)
    paint_soft_wall(canvas, patient, body)
    paint_lungs(canvas, patient, body)
    paint_muscles(canvas, patient)
    paint_pelvis(canvas, patient)
    paint_spine(canvas, patient)
    paint_ribs(canvas, patient)
    return body
