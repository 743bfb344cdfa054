"""How near to the original a variant must be to be published."""

from collections.abc import Mapping

from attention_dmfnet.model.manifest import Precision

from export.figures import ParityFigures

FULL_PRECISION_LABELS_DIFFER = 1e-5
"""Of all voxels: what the order of summing in float32 leaves between two runtimes, at the borders of organs."""

REDUCED_PRECISION_DSC = 0.995
REDUCED_PRECISION_DSC_BY_ORGAN: Mapping[str, float] = {"right adrenal gland": 0.98, "left adrenal gland": 0.98}
"""Adrenals are a few hundred voxels, nearly all of them at the border."""


def why_refused(precision: Precision, parity: ParityFigures) -> str | None:
    """None if the figures are within the bounds for ``precision``, otherwise what is beyond them."""
    if precision == "float32":
        if parity.labels_differ > FULL_PRECISION_LABELS_DIFFER:
            return (
                f"labels differ on {parity.labels_differ:.1e} of the voxels, at most {FULL_PRECISION_LABELS_DIFFER:.0e}"
            )
        return None
    too_low = [
        f"{organ} {dsc:.4f} < {least}"
        for organ, dsc in parity.dsc.items()
        if dsc < (least := REDUCED_PRECISION_DSC_BY_ORGAN.get(organ, REDUCED_PRECISION_DSC))
    ]
    return f"DSC against full precision: {', '.join(too_low)}" if too_low else None
