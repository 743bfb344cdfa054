"""The folder that ``synthesize`` completes bodies from, in its smallest form: balls for organs."""

import json
from pathlib import Path

import numpy as np
from attention_dmfnet.files.image_io import write_labels, write_volume
from attention_dmfnet.geometry import Volume

from tests.training.bodies import anatomy
from training.painting.tissue import Tissue

TS_NAMES = {
    Tissue.LIVER: "liver", Tissue.SPLEEN: "spleen", Tissue.PANCREAS: "pancreas", Tissue.STOMACH: "stomach",
    Tissue.RIGHT_KIDNEY: "kidney_right", Tissue.LEFT_KIDNEY: "kidney_left", Tissue.GALLBLADDER: "gallbladder",
    Tissue.AORTA: "aorta", Tissue.SPONGIOSA: "vertebrae_L1",
}  # fmt: skip
ICRP_NAMES = {
    Tissue.LIVER: "Liver", Tissue.SPLEEN: "Spleen", Tissue.PANCREAS: "Pancreas", Tissue.STOMACH: "Stomach wall",
    Tissue.RIGHT_KIDNEY: "Kidney, right, cortex", Tissue.LEFT_KIDNEY: "Kidney, left, cortex", Tissue.LUNG: "Lung",
    Tissue.GALLBLADDER: "Gall bladder wall", Tissue.AORTA: "Blood vessels, trunk", Tissue.SKIN: "Skin, trunk",
    Tissue.SPONGIOSA: "Lumbar spine, spongiosa", Tissue.FAT: "Residual tissue, trunk",
}  # fmt: skip


def write_raw_anatomy(folder: Path) -> None:
    """``anatomy/`` with two organ maps, a scan with its structures and two whole bodies, and ``ct/`` with the scan."""
    maps, scans = folder / "anatomy", folder / "ct"
    for each in (maps, scans):
        each.mkdir(parents=True)
    whole = anatomy("whole", whole=True, vessels=True)
    grid, tissues = whole.volume.geometry, whole.tissues
    organs = np.where(np.isin(tissues, list(map(int, TS_NAMES))), tissues, 0).astype(np.uint8)
    hu = np.select([tissues == 0, tissues == Tissue.FAT], [-1000, -100], 50).astype(np.int16)
    write_volume(Volume(hu, grid), scans / "TS-example_0000.nii.gz")
    write_labels(Volume(organs, grid), maps / "ts_example.nii.gz")
    (maps / "ts_example.json").write_text(json.dumps({str(int(key)): name for key, name in TS_NAMES.items()}))
    lungs = tissues.copy()
    lungs[-6:, 20:30, 25:45] = Tissue.LUNG
    for which in ("am", "af"):
        write_labels(Volume(lungs, grid), maps / f"icrp110_{which}.nii.gz")
    (maps / "icrp110.json").write_text(json.dumps({str(int(key)): name for key, name in ICRP_NAMES.items()}))
    for name, scale in (("amos_0013", 0.9), ("totalseg_s0327", 0.95)):  # each has the other's aorta to be drawn along
        target = anatomy(name, whole=False, vessels=True, scale=scale)
        organs = np.where(target.tissues < 14, target.tissues, 0).astype(np.uint8)
        write_labels(Volume(organs, target.volume.geometry), maps / f"{name}.nii.gz")
