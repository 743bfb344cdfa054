"""The thirteen organs of FLARE22, in the order of their labels: the one list that all packages take them from.

To add an organ: its name here, the rule for its components in ``export/release.py`` and its other names in
``training/data/organ_names.py``; one class more (``network.classes``, ``loss.class_weights``) in the recipes of the
fine stage. To paint it: in ``training/painting/tissue.py`` the values 1 to 13 of ``Tissue`` are the labels, and the
painter counts on that in several places (``range(1, 14)``). The engine takes names and labels from the manifest, which
export writes. The fine network must be trained anew.
"""

ORGANS: tuple[str, ...] = (
    "liver",
    "right kidney",
    "spleen",
    "pancreas",
    "aorta",
    "inferior vena cava",
    "right adrenal gland",
    "left adrenal gland",
    "gallbladder",
    "esophagus",
    "stomach",
    "duodenum",
    "left kidney",
)
"""Organ ``ORGANS[i]`` has label i + 1; 0 is everything else."""
