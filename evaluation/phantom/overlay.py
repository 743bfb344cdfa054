"""How an organ is laid over what was painted before it, and given its label."""

from collections.abc import Sequence

from attention_dmfnet.geometry import Triple

from evaluation.organs import ORGANS
from evaluation.phantom.patient import Patient
from evaluation.phantom.shapes import Canvas, Field, Knot, Region

LABEL = {organ: label for label, organ in enumerate(ORGANS, start=1)}


def paint_organ(
    canvas: Canvas,
    patient: Patient,
    found: tuple[Region, Field] | None,
    organ: str,
    hu: float | Field,
    rim_mm: float = 0.8,
) -> None:
    """Paint one organ in a rim of fat of ``rim_mm``, which keeps it apart from what was painted before it."""
    if found is None:
        return
    region, solid = found
    canvas.paint(region, solid - rim_mm, patient.hu["fat"], label=0)
    canvas.paint(region, solid, hu, label=LABEL[organ])


def moved(knots: Sequence[Knot], shift: Triple, size: float = 1.0) -> list[Knot]:
    """A path that is shifted (mm) and whose radii are multiplied by ``size``."""
    return [(x + shift[0], y + shift[1], z + shift[2], r * size) for x, y, z, r in knots]
