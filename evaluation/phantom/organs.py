"""The phantom's thirteen organs, from the back to the front, each laid over what was painted before it."""

from evaluation.phantom.adrenals import paint_adrenals
from evaluation.phantom.gallbladder import paint_gallbladder
from evaluation.phantom.gut import paint_duodenum, paint_esophagus, paint_stomach, stomach_solid
from evaluation.phantom.kidneys import paint_kidney
from evaluation.phantom.liver import paint_liver
from evaluation.phantom.pancreas import paint_pancreas
from evaluation.phantom.patient import Patient
from evaluation.phantom.shapes import Canvas
from evaluation.phantom.spaces import Body
from evaluation.phantom.spleen import paint_spleen
from evaluation.phantom.vessels import paint_aorta, paint_inferior_vena_cava, paint_portal_vein


def paint_organs(canvas: Canvas, patient: Patient, body: Body) -> None:
    """Paint and label the organs; the order is the depth: an organ presses into those painted before it."""
    paint_liver(canvas, patient, body)
    paint_spleen(canvas, patient, body)
    paint_kidney(canvas, patient, -1)
    paint_kidney(canvas, patient, 1)
    paint_adrenals(canvas, patient)
    paint_inferior_vena_cava(canvas, patient)
    paint_aorta(canvas, patient)
    paint_portal_vein(canvas, patient)
    stomach = stomach_solid(canvas, patient, body)
    paint_stomach(canvas, patient, stomach)
    paint_esophagus(canvas, patient, stomach)
    paint_duodenum(canvas, patient)
    paint_pancreas(canvas, patient)
    paint_gallbladder(canvas, patient)
