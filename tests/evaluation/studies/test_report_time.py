import sys
from pathlib import Path

import pytest
from attention_dmfnet.files.image_io import write_volume

from evaluation.errors import EvaluationError
from evaluation.studies import report_time
from evaluation.studies.report_time import main
from tests.engine.tiny import block_phantom


def test_each_command_runs_on_as_many_copies_as_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []

    def cpu_seconds(*words: str | Path) -> float:
        scans = next(Path(word) for word in words if Path(word).name == "scans")
        asked.append((str(words[0]), len(list(scans.iterdir()))))
        if "--report" in words:
            (Path(words[2]) / "report").mkdir(parents=True)
            (Path(words[2]) / "report" / "a.html").write_bytes(bytes(2_000_000))
            (Path(words[2]) / "report.html").write_bytes(bytes(10_000))
        return float(len(asked))

    monkeypatch.setattr(report_time, "cpu_seconds", cpu_seconds)
    write_volume(block_phantom()[0], tmp_path / "scan.nii.gz")
    (tmp_path / "work").mkdir()
    row = report_time.table(tmp_path / "scan.nii.gz", 3, tmp_path / "work")
    assert row == "| 3 x scan.nii.gz | 1.0 | 2.0 | 3.0 | 0.01 MB | 2.0 MB each at most |"
    assert asked == [("predict", 3), ("predict", 3), ("report", 3)]


def test_what_a_command_computes_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_time, "_COMMAND", (sys.executable, "-c"))
    busy = "import time\nwhile time.process_time() < 1: pass"
    assert 1 <= report_time.cpu_seconds(busy) < 10


def test_a_command_that_fails_ends_the_study_in_its_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_time, "_COMMAND", (sys.executable, "-c"))
    with pytest.raises(EvaluationError, match="ended with status 1: no room"):
        report_time.cpu_seconds("import sys\nsys.exit('no room')")


def test_the_command_prints_the_row(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(report_time, "table", lambda scan, copies, folder: f"{scan.name} {copies} {folder.is_dir()}")
    assert main(["scan.nii.gz", "--copies", "7"]) == 0
    assert capsys.readouterr().out == "scan.nii.gz 7 True\n"
