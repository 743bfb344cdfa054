"""Raw folders of small made-up patients: thirteen boxes in their places, one intensity an organ, and bad ones too."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
from attention_dmfnet.files.image_io import write_labels, write_volume
from attention_dmfnet.geometry import CANONICAL_AXES_LPS, Axes, Geometry, Index, Triple, Volume

from evaluation.phantom.scan import reorient_like
from tests.engine.tiny import manifest_json, nearest_class_onnx

SHAPE_ZYX: Index = (30, 42, 52)
SPACING_ZYX: Triple = (6.0, 5.0, 5.0)
AIR_HU, BODY_HU, ORGAN_STEP_HU = -1000, -100, 30
# what the teachers' intensities are divided by: so small that they tell organs apart with a probability near 1
_STD_HU = 10.0

_BOXES: dict[int, tuple[Index, Index]] = {
    # label: start and size; z upwards, y backwards, x towards the patient's left
    1: ((16, 8, 8), (8, 14, 16)),
    2: ((6, 24, 10), (8, 7, 7)),
    3: ((17, 18, 36), (6, 8, 6)),
    4: ((13, 17, 20), (3, 4, 18)),
    5: ((3, 25, 26), (22, 3, 3)),
    6: ((3, 25, 20), (20, 3, 4)),
    7: ((15, 25, 13), (2, 4, 4)),
    8: ((16, 26, 33), (2, 4, 4)),
    9: ((12, 10, 12), (4, 5, 5)),
    10: ((24, 22, 25), (5, 3, 4)),
    11: ((16, 10, 28), (7, 7, 8)),
    12: ((8, 16, 18), (4, 4, 9)),
    13: ((7, 25, 33), (8, 7, 7)),
}


def organ_hu(label: int) -> int:
    """The intensity of an organ, apart from every other one."""
    return ORGAN_STEP_HU * label


def make_patient(seed: int, axes_lps: Axes = CANONICAL_AXES_LPS, noise_hu: float = 2.0) -> tuple[Volume, Volume]:
    """The CT (int16) and labels (uint8) of patient ``seed``: another body, and organs moved a little (27 ways)."""
    rng = np.random.default_rng(seed)
    grid = Geometry(SHAPE_ZYX, SPACING_ZYX, (-130.0, -105.0, 40.0), CANONICAL_AXES_LPS)
    labels = np.zeros(SHAPE_ZYX, np.uint8)
    shift = (seed % 3 - 1, seed // 3 % 3 - 1, seed // 9 % 3 - 1)
    for label, (start, size) in _BOXES.items():
        labels[tuple(slice(s + d, s + d + n) for s, d, n in zip(start, shift, size, strict=True))] = label
    hu = np.full(SHAPE_ZYX, AIR_HU, np.float64)
    # fat and what lies in it, in large blocks: no two patients have the same
    blocks = rng.choice([BODY_HU, BODY_HU + 40], (5, 6, 7)).repeat(6, 0).repeat(7, 1).repeat(8, 2)
    hu[:, 4:, 3:49] = blocks[:, 4:42, 3:49]
    hu[labels > 0] = ORGAN_STEP_HU * labels[labels > 0].astype(np.float64)
    hu += rng.normal(0, noise_hu, SHAPE_ZYX)
    geometry = reorient_like(Volume(labels, grid), Geometry((1, 1, 1), (1, 1, 1), (0, 0, 0), axes_lps)).geometry
    ct = reorient_like(Volume(np.rint(hu).astype(np.int16), grid), geometry)
    return ct, reorient_like(Volume(labels, grid), geometry)


def write_flare22(raw: Path, labelled: int = 3, unlabelled: int = 0) -> Path:
    """A folder in FLARE22's layout, with the names that the organisers gave."""
    for number in range(1, labelled + 1):
        ct, labels = make_patient(number)
        add_labelled(raw, f"FLARE22_Tr_{number:04d}", ct, labels)
    folder = raw / "FLARE22_UnlabeledCase1-1000"
    for number in range(1, unlabelled + 1):
        folder.mkdir(parents=True, exist_ok=True)
        write_volume(make_patient(100 + number)[0], folder / f"Case_{number:05d}_0000.nii.gz")
    return raw


def add_labelled(raw: Path, name: str, ct: Volume, labels: Volume) -> tuple[Path, Path]:
    """Write one labelled case in FLARE22's layout; returns the two paths."""
    folder = raw / "FLARE22_LabeledCase50"
    image_path, labels_path = folder / "images" / f"{name}_0000.nii.gz", folder / "labels" / f"{name}.nii.gz"
    for path in (image_path, labels_path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(ct, image_path)
    if labels.array.dtype == np.uint8:
        write_labels(labels, labels_path)
    else:
        write_volume(labels, labels_path)
    return image_path, labels_path


def write_nnunet(raw: Path, numbering: dict[str, int], labelled: int = 2) -> Path:
    """A folder in nnU-Net's layout whose organs have the numbers of ``numbering`` (name to number, 0 being none)."""
    from training.organ_names import label_of_name

    for folder in ("imagesTr", "labelsTr"):
        (raw / folder).mkdir(parents=True, exist_ok=True)
    for number in range(1, labelled + 1):
        ct, labels = make_patient(number)
        table = np.zeros(14, np.uint8)
        for name, value in numbering.items():
            label = label_of_name(name)
            if label is not None:
                table[label] = value
        write_volume(ct, raw / "imagesTr" / f"abdomen_{number:03d}_0000.nii.gz")
        write_labels(Volume(table[labels.array], labels.geometry), raw / "labelsTr" / f"abdomen_{number:03d}.nii.gz")
    about = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, **numbering},
        "numTraining": labelled,
        "file_ending": ".nii.gz",
    }
    (raw / "dataset.json").write_text(json.dumps(about))
    return raw


def write_teacher(folder: Path, blind_to: int | None = None) -> Path:
    """A models folder for these patients that finds every organ by its intensity, but for one if it is blind to it.

    The networks are real ones that see one voxel: the class whose intensity is nearest. What they are blind to counts
    as an organ with a neighbouring label.
    """
    centres_hu = [BODY_HU, *(organ_hu(label) for label in range(1, 14))]
    if blind_to is not None:
        centres_hu[blind_to] = 10_000
    # tiles smaller than the region of interest: larger ones would be centred on it, half a voxel off the scan's grid
    tiles: tuple[Index, Index] = ((16, 16, 16), (16, 16, 16))
    coarse = nearest_class_onnx([hu / _STD_HU for hu in (BODY_HU, 2 * organ_hu(1) + 40)], tiles[0])
    fine = nearest_class_onnx([hu / _STD_HU for hu in centres_hu], tiles[1])
    spacings: tuple[Triple, Triple] = ((12.0, 10.0, 10.0), SPACING_ZYX)
    manifest = manifest_json(coarse, fine, spacings_zyx=spacings, tiles_zyx=tiles, margin_mm=(30.0, 15.0, 15.0))
    for stage in ("coarse", "fine"):
        manifest[stage] |= {"mean_hu": 0.0, "std_hu": _STD_HU}
    folder.mkdir(parents=True)
    (folder / "coarse.onnx").write_bytes(coarse)
    (folder / "fine.onnx").write_bytes(fine)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def write_recipe_for_patients(path: Path) -> Path:
    """A recipe for both stages on the patients' own grid, and half of it."""
    grid = {"coarse": ([12.0, 10.0, 10.0], [16, 16, 32]), "fine": (list(SPACING_ZYX), [16, 32, 32])}
    lines = ["[intensity]", "window_hu = [-200, 500]", "[sampling]", "[augmentation]", "[loss]"]
    lines += ["[optimiser]", 'name = "adamw"', "learning_rate = 0.01", "[schedule]", 'shape = "constant"']
    lines += ["[run]", "batch = 1", "steps_per_epoch = 1", "epochs = 1"]
    for stage, (spacing, tile) in grid.items():
        classes = 2 if stage == "coarse" else 14
        lines += [f"[{stage}.network]", f"classes = {classes}", "stem = 8", "width = 8", "groups = 4"]
        lines += [f"[{stage}.grid]", f"spacing_zyx = {spacing}", f"tile_zyx = {tile}"]
    path.write_text("\n".join(lines) + "\n")
    return path


def all_values(labels: npt.NDArray[np.uint8]) -> set[int]:
    """The labels that occur, without the background."""
    return set(np.unique(labels).tolist()) - {0}
