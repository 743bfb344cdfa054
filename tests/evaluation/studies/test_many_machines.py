import re
from pathlib import Path

import pytest
from attention_dmfnet.files.image_io import write_volume

from evaluation.studies import many_machines
from evaluation.studies.many_machines import Measured, main, table
from tests.engine.tiny import block_phantom, write_models


def test_a_row_says_how_many_times_the_cpu_seconds_of_the_first_run_it_took() -> None:
    runs = [Measured("alone", 4, 10.0, 20.0, 300.0), Measured("two", 4, 6.0, 30.0, None), Measured("x", 4, 1, None, 1)]
    assert table(runs).splitlines()[2:] == [
        "| alone | 4 | 10 | 20 | 1.00x | 300 |",
        "| two | 4 | 6 | 30 | 1.50x | - |",
        "| x | 4 | 1 | - | - | 1 |",
    ]


def test_the_command_runs_each_way_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray's workers have tests of their own: here a module that understands ``--workers`` stands for them."""
    (tmp_path / "stand_in.py").write_text(
        "import sys\nfrom attention_dmfnet.cli.main import main\n"
        "at = sys.argv.index('--workers')\nsys.exit(main(sys.argv[1:at] + sys.argv[at + 2:]))\n"
    )
    monkeypatch.setitem(many_machines.COMMANDS, "workers", "stand_in")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scans").mkdir()
    write_volume(block_phantom()[0], tmp_path / "scans" / "a.nii.gz")
    models = write_models(tmp_path / "models")
    assert main([str(tmp_path / "scans"), "--workers", "2", "--models", str(models)]) == 0
    rows = capsys.readouterr().out.splitlines()[2:]
    assert len(rows) == 2
    assert re.fullmatch(r"\| attention-dmfnet predict \| 1 \| \d+ \| \d+ \| 1\.00x \| \d+ \|", rows[0])
    assert rows[1].startswith("| cluster predict, 2 workers | 1 |")
    assert main([str(tmp_path / "none"), "--models", str(models)]) == 1
    assert "ended with status 2" in capsys.readouterr().err
