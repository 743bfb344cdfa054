"""The folders in which FLARE's later tasks publish FLARE22's scans, with two entries' labels for 2000 of them.

    train_gt_label/{imagesTr,labelsTr}                50 scans and what was drawn in them
    train_pseudo_label/imagesTr                       the unlabelled scans
    train_pseudo_label/{flare22_aladdin5_pseudo, pseudo_label_blackbean_flare22}      label maps of two entries
    validation/Validation-Public-{Images,Labels}      50 scans to measure on

The release of another task calls the first two ``train_CT_gt_label`` and ``train_CT_pseudolabel``. The numbers of the
organs are FLARE22's, and there is no ``dataset.json``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_DRAWN = ("train_gt_label", "train_CT_gt_label")
_PSEUDO = ("train_pseudo_label", "train_CT_pseudolabel")
_IMAGES = "imagesTr"
_FIRST_TEACHER = "blackbean"
"""Whose labels are taken: FLARE22's winner. The others are asked whether they agree."""


@dataclass(frozen=True)
class Release:
    """Where everything is. ``pseudo_maps`` are folders of label maps, whose labels are taken first."""

    images: Path
    labels: Path
    pseudo_images: Path | None
    pseudo_maps: tuple[Path, ...]
    validation: tuple[Path, Path] | None


def find_release(raw: Path) -> Release | None:
    """The parts of the release in ``raw``, or None if it is none: without drawn labels there is nothing to learn."""
    drawn = next((raw / name for name in _DRAWN if (raw / name / _IMAGES).is_dir()), None)
    if drawn is None or not (drawn / "labelsTr").is_dir():
        return None
    pseudo = next((raw / name for name in _PSEUDO if (raw / name / _IMAGES).is_dir()), None)
    maps: tuple[Path, ...] = ()
    if pseudo is not None:
        folders = [path for path in sorted(pseudo.iterdir()) if "pseudo" in path.name.lower() and path.is_dir()]
        maps = tuple(sorted(folders, key=lambda folder: _FIRST_TEACHER not in folder.name))
    validation = (raw / "validation" / "Validation-Public-Images", raw / "validation" / "Validation-Public-Labels")
    return Release(
        drawn / _IMAGES,
        drawn / "labelsTr",
        None if pseudo is None else pseudo / _IMAGES,
        maps,
        validation if all(folder.is_dir() for folder in validation) else None,
    )
