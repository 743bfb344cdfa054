import os
from pathlib import Path

import pytest
from attention_dmfnet.files.image_io import write_labels

from evaluation.__main__ import main
from tests.engine.tiny import block_phantom

NAMES = [os.fsdecode(b"M\xfcller"), os.fsdecode(b"\xff"), "two\nlines", "Müller"]


@pytest.mark.parametrize("name", NAMES)
def test_label_maps_of_any_name_are_scored(tmp_path: Path, name: str) -> None:
    predictions, references = tmp_path / f"p{NAMES[0]}", tmp_path / f"r{NAMES[0]}"
    for folder in (predictions, references):
        folder.mkdir()
        write_labels(block_phantom()[1], folder / f"{name}.nii.gz")
    arguments = ["score", str(predictions), str(references), "--csv", str(tmp_path / "o.csv"), "--no-plot"]
    assert main(arguments) == 0
    assert len((tmp_path / "o.csv").read_text(encoding="utf-8").splitlines()) == 2


@pytest.mark.parametrize("name", NAMES)
def test_what_is_wrong_with_one_is_one_printable_line(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / f"{name}.nii.gz").write_bytes(b"no labels")
    assert main(["score", str(tmp_path), str(tmp_path), "--csv", str(tmp_path / "o.csv"), "--no-plot"]) == 1
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert err.encode()
