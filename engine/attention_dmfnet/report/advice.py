"""What to do about a note, by its code: docs/input-output.md says when each is given."""

from __future__ import annotations

from typing import Final

_HEADER: Final = "Compare right and left, head and feet in the pictures with what is known; convert the scan again."
_NO_HU: Final = (
    "Convert the scan from DICOM again, with slope and intercept and without a window. Do not use the labels."
)
_NOTHING: Final = "Nothing: what was meant is clear."

ADVICE: Final[dict[str, str]] = {
    "empty-voxels": _NOTHING,
    "units-converted": _NOTHING,
    "header-voxel-offset": _NOTHING,
    "values-offset-1024": _NOTHING,
    "units-doubtful": "Check that the organs have the sizes of organs; correct the unit in the header.",
    "header-forms-differ": _HEADER,
    "header-forms-mirrored": "Check right and left: the liver lies on the patient's right. Convert the scan again.",
    "header-qform-unusable": _HEADER,
    "header-sform-unusable": _HEADER,
    "header-no-orientation": "Check right and left, head and feet in the pictures: the file does not say.",
    "header-spacing-differs": "Check that the volumes can be true; correct the spacing in the header.",
    "header-axes-sheared": "Resample the scan to right angles (a tilted gantry), and label it again.",
    "spacing-unusual": "Check the spacing in the header: volumes and sizes are wrong where it is.",
    "spacing-too-wide": "Check the spacing in the header: volumes and sizes are wrong where it is.",
    "spacing-axes": "Check the spacing in the header: lengths are wrong where its axes are exchanged.",
    "values-constant": "The file holds no picture. Export the scan again.",
    "values-scaled": _NO_HU,
    "values-eight-bit": _NO_HU,
    "values-no-hu": "Check that it is a CT in HU: the networks have seen nothing else.",
    "values-air": "Use no HU of this scan, unless its window is known. Export it again if its slope was lost.",
    "values-gaps": "Export the series again. Organs end at the gaps, and volumes are too small.",
    "values-padded": "Use no volume of an organ that ends where the empty slices begin.",
    "values-no-body": "Check the intercept and the series: no body is in the file.",
    "no-roi": "Check that the scan shows the abdomen. Look at every organ before it is used.",
    "roi-widened": "Look at the organ on that side: a large organ, or what was taken for one?",
    "organ-beyond-roi": "Do not use the volume. Look where the organ ends, or whether it is one.",
    "roi-at-edge": "Organs are cut: use no volume of an organ that touches the scan's edge.",
    "runtime-replaced": "The labels are good. For speed: see why the first runtime failed.",
    "organ-cut": "Do not use the volume: what was measured is a part of the organ.",
    "organ-volume": "Look at the organ in all three planes: illness, operation or a wrong label?",
    "not-an-adult": "Check the spacing in the header, and that the patient is an adult.",
    "organ-missing": "Look where the organ should be: removed, or missed?",
    "not-an-abdomen": "Check that the scan shows the abdomen. Do not use the labels otherwise.",
    "organ-dropped": "Look for a second part of the organ that was taken away.",
    "organ-alone": "Check that the scan shows the abdomen.",
    "organ-in-parts": "Look at the parts: one may be another organ.",
    "sides-exchanged": "Check right and left in the header. Do not use the labels before.",
    "front-and-back-exchanged": "Check front and back in the header. Do not use the labels before.",
    "upside-down": "Check head and feet in the header. Do not use the labels before.",
    "dicom-series": "Nothing: it says which series was labelled.",
    "dicom-volumes": "`--series` labels the other volumes, each with a label map of its own.",
    "dicom-tilt": "Nothing. Lay the labels over a scan that was resampled to their grid.",
    "dicom-duplicates": _NOTHING,
    "dicom-localizer": _NOTHING,
    "dicom-not-axial": "Look at every organ: thin axial images are what the networks know. `--series` chooses another.",
    "dicom-derived": "Look at every organ: a derived series may be smoothed or cut. `--series` chooses another.",
    "dicom-padding": "Check that the air around the body is dark in the pictures.",
    "dicom-rescale-type": "Check that it is a CT in HU: the networks have seen nothing else.",
    "dicom-lossy": "Look at small organs: compression takes their edges away.",
    "exists": "Nothing. `--overwrite` labels it again.",
    "made-again": "Nothing: the file that was there was not whole.",
    "not-read": "Convert it to NIfTI if it is a scan to be labelled.",
}


def advice_for(code: str) -> str:
    """A sentence; an empty one for a code that is not known here."""
    return ADVICE.get(code, "")
