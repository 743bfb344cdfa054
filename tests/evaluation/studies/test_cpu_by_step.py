import time
from pathlib import Path

import pytest
from attention_dmfnet.files.image_io import write_volume

from evaluation.errors import EvaluationError
from evaluation.studies.cpu_by_step import REST, TOTAL, cpu_by_step, main, table
from tests.engine.tiny import block_phantom


def test_most_of_the_process_is_in_its_steps_and_it_has_one_cpu_only(tmp_path: Path) -> None:
    write_volume(block_phantom((60, 72, 80))[0], tmp_path / "a.nii.gz")
    start_s = time.perf_counter()
    seconds = cpu_by_step(tmp_path / "a.nii.gz", tmp_path)
    # what has one CPU uses no more CPU-seconds than seconds pass
    assert 0 < seconds[TOTAL] <= time.perf_counter() - start_s
    assert {"import", "read", "load coarse", "coarse", "fine", "restore", "components", "write"} <= seconds.keys()
    # the networks compute on the thread that asks them
    assert 0 < seconds[REST] < seconds[TOTAL] / 2


def test_the_table_has_the_least_and_the_middle_one_of_each_step() -> None:
    rows = table([{"read": 3.0, TOTAL: 4.0}, {"read": 1.0, TOTAL: 5.0}, {"read": 2.0, TOTAL: 9.0}]).splitlines()
    assert rows[2:] == ["| read | 1.000 | 2.000 |", f"| {TOTAL} | 4.000 | 5.000 |"]


def test_a_scan_that_cannot_be_labelled_ends_the_study_with_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.nii.gz").write_bytes(b"no scan")
    # in the engine's own words
    with pytest.raises(EvaluationError, match=r"the engine failed on .*: .*not a file of the kind"):
        cpu_by_step(tmp_path / "a.nii.gz", tmp_path)
    assert main([str(tmp_path / "a.nii.gz"), "--runs", "1"]) != 0
    assert "the engine failed" in capsys.readouterr().err
