"""What bodies are completed from beside their own maps: templates, labelled scans, and maps that lend organs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from training.errors import TrainingError
from training.painting.anatomy import Anatomy, read_organ_map
from training.painting.bodies import is_held_out
from training.painting.course_file import BAD_MAP
from training.painting.label_maps import map_name
from training.painting.real_scans import one_phase_each, real_scan_names

_log = logging.getLogger(__name__)


def check_templates(data: Path) -> None:
    """Raises ``TrainingError`` where ``data`` lacks one."""
    names = ("icrp110.json", "icrp110_am.nii.gz", "icrp110_af.nii.gz", "ts_example.json", "ts_example.nii.gz")
    files = [*(data / "anatomy" / name for name in names), data / "ct" / "TS-example_0000.nii.gz"]
    missing = [str(path) for path in files if not path.is_file()]
    if missing:
        raise TrainingError(f"bodies are completed by templates, and {', '.join(missing)} is missing; add it")


def labelled_scans(data: Path, labels: Path) -> list[str]:
    """The scans below ``data`` that ``labels`` has a label map of, one phase of each patient.

    Raises ``TrainingError`` for ``labels`` that are no folder or fit no scan.
    """
    if not labels.is_dir():
        raise TrainingError(f"--scan-labels {labels} is no folder; name one with label maps of the scans in {data}/ct")
    scans = [name for name in one_phase_each(real_scan_names(data)) if labels_of_scan(labels, name).exists()]
    if not scans:
        raise TrainingError(
            f"--scan-labels {labels} holds no label map of a scan in {data / 'ct'} that may be a template; label them "
            f"with `sh predict.sh {data / 'ct'} {labels}`"
        )
    _log.info("%s: bodies and HU of the scans %s", labels, ", ".join(scans))
    return scans


def labels_of_scan(folder: Path, scan: str) -> Path:
    """Where the label map of ``scan`` lies."""
    return folder / f"{scan}.nii.gz"


def donors_of(source: Path, variant: int, sources: Sequence[Path]) -> tuple[Path, ...]:
    """WORD maps, which have all the gut, of the same side of the split, to lend what ``source`` lacks."""
    side = is_held_out(map_name(source))
    whole = [path for path in sources if map_name(path).startswith("word") and is_held_out(map_name(path)) is side]
    others = [path for path in whole if path != source]
    if not others:
        return ()
    first = (sum(map(ord, map_name(source))) * 7 + 5 * variant) % len(others)
    return (*others[first:], *others[:first])


def first_donor(donors: Sequence[Path]) -> Anatomy | None:
    """The first that can be read. What is wrong with the others is told where they are completed themselves."""
    for path in donors:
        try:
            return read_organ_map(path)
        except BAD_MAP:
            continue
    return None
