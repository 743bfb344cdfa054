"""The one table of how large adults' organs are: what a measurement can be, and what healthy people have.

Imports nothing of ours, so that a plain run, which judges its volumes by it, pays for nothing else.
"""

from __future__ import annotations

from typing import Final, NamedTuple

Range = tuple[float, float]
"""From the least to the most, in mL."""


class AdultVolume(NamedTuple):
    """One row. ``possible_ml`` is beyond what illness and filling make of an organ: a volume outside is a doubtful
    measurement. ``healthy_ml`` holds about the middle 95 % of the people of ``source``, whatever their sex and size: a
    large healthy person may well lie above it. It is None for an organ of which no such range can be given, and
    ``source`` says why.
    """

    possible_ml: Range
    healthy_ml: Range | None
    source: str

    def compare(self, volume_ml: float) -> str | None:
        """``below``, ``within`` or ``above`` the healthy; None where there is no range."""
        if self.healthy_ml is None:
            return None
        low, high = self.healthy_ml
        return "below" if volume_ml < low else "above" if volume_ml > high else "within"


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
_SHOWN: Final = "depends on how much of it the scan shows"
_MEAL: Final = "depends on the last meal"

ADULT_VOLUMES: Final[dict[str, AdultVolume]] = {
    "liver": AdultVolume((600, 3600), (824.5, 1700), _DONORS),
    # women 138 (121 to 156) mL, men 174 (154 to 197)
    "right kidney": AdultVolume((50, 450), (87, 236), _KIDNEYS),
    "spleen": AdultVolume((30, 1300), (81.1, 322), _DONORS),
    "pancreas": AdultVolume((20, 220), (21.8, 123), _PANCREAS),
    "aorta": AdultVolume((20, 350), None, _SHOWN),
    "inferior vena cava": AdultVolume((12, 350), None, _SHOWN),
    "right adrenal gland": AdultVolume((0.8, 15), (2.57, 5.95), _RIGHT_ADRENAL),
    "left adrenal gland": AdultVolume((0.8, 15), (2.78, 5.68), _LEFT_ADRENAL),
    "gallbladder": AdultVolume((1.5, 250), None, _MEAL),
    "esophagus": AdultVolume((1.5, 90), None, _SHOWN),
    "stomach": AdultVolume((40, 2500), None, _MEAL),
    "duodenum": AdultVolume((12, 250), None, _MEAL),
    # women 144 (125 to 165) mL, men 180 (160 to 203)
    "left kidney": AdultVolume((50, 450), (86, 242), _KIDNEYS),
}
"""By organ. One range for both sexes: a CT without its DICOM header does not say whose it is.

Every healthy figure was looked up in the abstract or table of its source (2026). What is possible is about 0.4 times
the smallest to 2 times the largest mean of adults, stretched for illness and filling. Means of 149 abdominal CT
studies, female to male (Geraghty et al., Abdominal Imaging 29, 2004): liver 1411 to 1710 mL, spleen 180 to 238, a
kidney 157 to 193, pancreas 64 to 87, adrenal from 4.4. Adrenals of 81 adults span 2.6 to 6.6 mL (Wang et al., as
above). Gallbladder with bile 56 to 68 mL, stomach with its content 370 to 400 (ICRP publication 89, 2002; filling
takes it to 2 L and more). Aorta and vena cava are tubes of 200 to 400 mm of their published widths; the esophagus is
only what lies in the abdomen's field of view.
"""
