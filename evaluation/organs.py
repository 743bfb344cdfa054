"""The names of the thirteen organs of FLARE22, in the order of their labels, from the runtime's table.

To add an organ: its row in ``attention_dmfnet/organs.py``, the rule for its components in ``export/release.py`` and its
other names in ``training/organ_names.py``; one class more (``network.classes``, ``loss.class_weights``) in the
recipes of the fine stage. To paint it: in ``training/painting/tissue.py`` the values 1 to 13 of ``Tissue`` are the
labels, and the painter counts on that in several places (``range(1, 14)``). The engine takes names and labels from the
manifest, which export writes. The fine network must be trained anew.
"""

from attention_dmfnet import organs

ORGANS: tuple[str, ...] = tuple(organ.name for organ in organs.ORGANS)
"""Organ ``ORGANS[i]`` has label i + 1; 0 is everything else."""
