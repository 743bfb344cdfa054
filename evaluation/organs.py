"""The thirteen organs of FLARE22, in the order of their labels."""

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
