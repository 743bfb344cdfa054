"""Names that an archive holds: bytes that are not UTF-8, line breaks, the longest that a disk takes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attention_dmfnet.files.cases import printable
from attention_dmfnet.files.image_io import ImageError, read_volume, write_labels, write_volume

from tests.engine.tiny import block_phantom

ROOT = Path(__file__).parents[2]
LATIN_1 = os.fsdecode("Müller".encode("latin-1"))
ODD_NAMES = [
    LATIN_1,
    os.fsdecode(b"\xff\xfe"),
    os.fsdecode("肝".encode("gb18030")),
    "two\nlines",
    "Müller 肝 🫀",
    "quote'\"$(x)`%s",
    "-rf",
    "n" * 248,
]


def _run(inputs: Path, outputs: Path, models: Path, *options: str, **settings: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "attention_dmfnet", "predict", str(inputs), str(outputs), "--models", str(models)]
    return subprocess.run(
        [*command, *options], cwd=ROOT, capture_output=True, encoding="utf-8", check=False, timeout=600, **settings
    )


def test_scans_of_any_name_are_labelled_and_reported_on_lines_of_json(tmp_path: Path, models: Path) -> None:
    ct, truth = block_phantom()
    (tmp_path / "in").mkdir()
    for number, name in enumerate(ODD_NAMES):
        extension = (".nii.gz", ".mha", ".nrrd", ".nii")[number % 4] if len(name) < 200 else ".nii.gz"
        write_volume(ct, tmp_path / f"a{extension}")
        os.rename(tmp_path / f"a{extension}", tmp_path / "in" / f"{name}{extension}")
    run = _run(tmp_path / "in", tmp_path / "out", models, "--json")
    assert run.returncode == 0, run.stderr
    reports = [json.loads(line) for line in run.stdout.split("\n")[:-1]]
    assert {report["case"] for report in reports} == {printable(name) for name in ODD_NAMES}
    assert r"M\xfcller" in {report["case"] for report in reports}
    for name in ODD_NAMES:
        np.testing.assert_array_equal(read_volume(tmp_path / "out" / f"{name}.nii.gz").array, truth.array)
    assert len(os.listdir(tmp_path / "out")) == len(ODD_NAMES) + len(["run.json"])


@pytest.mark.parametrize("locale", ["C.UTF-8", "POSIX"])
def test_folders_of_any_name_take_label_maps_and_a_bad_scan_costs_no_other(
    tmp_path: Path, models: Path, locale: str
) -> None:
    folder = tmp_path / LATIN_1 / "in"
    folder.mkdir(parents=True)
    write_volume(block_phantom()[0], folder / "a.nii.gz")
    (folder / f"bad {LATIN_1}.nii.gz").write_bytes(b"not a scan")
    (folder / f"{LATIN_1} below").mkdir()
    shutil.copy(folder / "a.nii.gz", folder / f"{LATIN_1} below")
    outputs = tmp_path / LATIN_1 / "out"
    run = _run(folder, outputs, models, env={**os.environ, "LC_ALL": locale})
    assert run.returncode == 1, run.stderr
    assert "cannot read" in run.stdout
    assert r"1 of 2 cases failed: bad M\xfcller" in run.stderr
    assert r"M\xfcller below (folder with scans)" in run.stderr
    assert sorted(os.listdir(outputs)) == ["a.nii.gz", "run.json"]
    assert _run(folder, outputs, models).stdout.startswith("a  skipped: ")


@pytest.mark.parametrize("extension", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_every_format_is_written_and_read_under_a_name_that_is_not_utf_8(tmp_path: Path, extension: str) -> None:
    labels = block_phantom()[1]
    path = tmp_path / LATIN_1 / f"{LATIN_1}{extension}"
    path.parent.mkdir()
    write_labels(labels, path)
    np.testing.assert_array_equal(read_volume(path).array, labels.array)
    assert os.listdir(path.parent) == [path.name]


def test_where_no_link_can_be_made_the_name_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / LATIN_1 / "a.nrrd"
    path.parent.mkdir()
    write_labels(block_phantom()[1], path)

    def full(*_: object, **__: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.mkdtemp", full)
    with pytest.raises(ImageError, match="not UTF-8"):
        read_volume(path)
    with pytest.raises(ImageError, match="not UTF-8"):
        write_labels(block_phantom()[1], path)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a b", "a b"),
        ("Müller 肝", "Müller 肝"),
        (LATIN_1, r"M\xfcller"),
        ("a\nb\tc\x1b[2J", r"a\nb\tc\x1b[2J"),
        ("\ud800", r"\ud800"),
        ("\u2028", r"\u2028"),
    ],
)
def test_what_cannot_be_printed_on_a_line_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown
    shown.encode()
