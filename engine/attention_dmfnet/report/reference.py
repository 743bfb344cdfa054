"""Volumes of healthy adults' organs, from publications: what a measured volume is put beside.

These are narrower than ``steps.quality.VOLUMES_ML``, beyond which a volume is doubtful as a measurement. They hold 95 %
of the people who were measured, whatever their sex and size: a large healthy person may well lie above one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Reference:
    """From ``low_ml`` to ``high_ml``: about the middle 95 % of the adults of ``source``."""

    low_ml: float
    high_ml: float
    source: str

    def compare(self, volume_ml: float) -> str:
        """``below``, ``within`` or ``above``."""
        if volume_ml < self.low_ml:
            return "below"
        return "above" if volume_ml > self.high_ml else "within"


_DONORS: Final = "CT of 2989 liver donors, central 95 % (Kim et al., Radiology, 2021)"
_PANCREAS: Final = "CT of 1721 adults, mean 72.4 mL, SD 25.8, +-1.96 SD (Saisho et al., Clinical Anatomy 20, 2007)"
_RIGHT_ADRENAL: Final = (
    "CT of 81 adults, mean 4.26 mL, SD 0.86, +-1.96 SD (Wang et al., Chinese Medical Sciences Journal 27, 2012)"
)
_LEFT_ADRENAL: Final = (
    "CT of 81 adults, mean 4.23 mL, SD 0.74, +-1.96 SD (Wang et al., Chinese Medical Sciences Journal 27, 2012)"
)
_KIDNEYS: Final = (
    "MRI of 1815 adults, women's median - 1.96 SD to men's + 1.96 SD, SD from the quartiles "
    "(J. Clin. Med. 13, 2024, article 769)"
)

REFERENCES: Final[dict[str, Reference]] = {
    "liver": Reference(824.5, 1700.0, _DONORS),
    "spleen": Reference(81.1, 322.0, _DONORS),
    # women 138 (121 to 156) mL, men 174 (154 to 197)
    "right kidney": Reference(87.0, 236.0, _KIDNEYS),
    # women 144 (125 to 165) mL, men 180 (160 to 203)
    "left kidney": Reference(86.0, 242.0, _KIDNEYS),
    "pancreas": Reference(21.8, 123.0, _PANCREAS),
    "right adrenal gland": Reference(2.57, 5.95, _RIGHT_ADRENAL),
    "left adrenal gland": Reference(2.78, 5.68, _LEFT_ADRENAL),
}
"""Every figure was looked up in the abstract or table of its source (2026). One range for both sexes: a CT without its
DICOM header does not say whose it is.
"""

WITHOUT_REFERENCE: Final[dict[str, str]] = {
    "aorta": "depends on how much of it the scan shows",
    "inferior vena cava": "depends on how much of it the scan shows",
    "esophagus": "depends on how much of it the scan shows",
    "gallbladder": "depends on the last meal",
    "stomach": "depends on the last meal",
    "duodenum": "depends on the last meal",
}
"""Why an organ has no range."""
