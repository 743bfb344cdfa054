from pathlib import Path

import numpy as np
from attention_dmfnet.files.image_io import read_volume

from tests.training.bodies import body
from training.painting.bodies import HELD_OUT, save_body
from training.painting.painted_scans import FIELDS, WHOLE_SCAN, write_painted_scans


def save(folder: Path, name: str) -> None:
    folder.mkdir(exist_ok=True)
    save_body(body(), folder / f"{name}.npz")


def test_only_held_out_anatomy_is_painted_and_labels_lie_on_the_scans_grid(tmp_path: Path) -> None:
    save(tmp_path / "bodies", "word_0014_0")
    save(tmp_path / "bodies", f"{HELD_OUT[0]}_0")
    assert write_painted_scans(tmp_path / "bodies", tmp_path / "scans", seed=3) == [f"{HELD_OUT[0]}_0"]
    scan = read_volume(tmp_path / "scans" / "images" / f"{HELD_OUT[0]}_0_0000.nii.gz")
    labels = read_volume(tmp_path / "scans" / "labels" / f"{HELD_OUT[0]}_0.nii.gz")
    assert scan.array.dtype == np.int16
    assert scan.geometry.shape_zyx == WHOLE_SCAN.shape_zyx
    assert labels.geometry.matches(scan.geometry)
    assert {1, 3, 4, 5} <= set(np.unique(labels.array))
    # what is painted is what is labelled: the liver is brighter than the fat around it
    assert np.median(scan.array[labels.array == 1]) > -50


def test_a_chest_or_a_pelvis_shows_no_organ_of_the_middle_of_the_abdomen(tmp_path: Path) -> None:
    tall = body().tissues
    # ten slices of fat below the liver and above it are too few to stay clear of
    tissues = np.concatenate([np.repeat(tall[:1], 60, 0), tall, np.repeat(tall[-1:], 60, 0)])
    (tmp_path / "bodies").mkdir()
    np.savez_compressed(
        tmp_path / "bodies" / f"{HELD_OUT[0]}_0.npz", tissues=tissues, hu=np.zeros(tissues.shape, np.int16)
    )
    for field in FIELDS[1:]:
        (name,) = write_painted_scans(tmp_path / "bodies", tmp_path / "scans", 3, field)
        labels = read_volume(tmp_path / "scans" / "labels" / f"{name}.nii.gz").array
        scan = read_volume(tmp_path / "scans" / "images" / f"{name}_0000.nii.gz").array
        assert (scan > -150).mean() > 0.05
        assert not np.isin(labels, (3, 4)).any()


def test_scans_of_training_anatomy_are_of_bodies_far_apart_and_of_no_held_out_one(tmp_path: Path) -> None:
    for name in ("word_0014_0", "word_0014_1", "word_0016_0", "word_0016_1", f"{HELD_OUT[0]}_0"):
        save(tmp_path / "bodies", name)
    names = write_painted_scans(tmp_path / "bodies", tmp_path / "scans", 3, anatomy="training", at_most=2)
    assert names == ["word_0014_0", "word_0016_0"]
    assert len(list((tmp_path / "scans" / "labels").iterdir())) == 2
