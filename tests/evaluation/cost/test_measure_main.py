"""The subcommands that measure, by the command line."""

import json
import shlex
import sys
from pathlib import Path

import pytest

from evaluation.__main__ import main
from evaluation.command import FAILED, UNUSABLE
from tests.evaluation.cost.fakes import fake_scan, fake_system
from tests.evaluation.cost.test_latency import ENGINE


def line(code: str) -> str:
    return shlex.join(fake_system(code).words)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        fake_scan(tmp_path / "scans", f"{name}_0000.nii.gz")
    return tmp_path / "scans"


def test_efficiency_writes_both_tables_the_plots_and_a_summary(
    scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["efficiency", "--command", line("label()"), str(scans), "--to", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        *("efficiency_flare22.csv", "efficiency_measured.csv", "logs", "plots", "predictions", "summary.md"),
    ]
    assert sorted(path.name for path in (out / "plots").iterdir()) == ["a.png", "b.png"]
    assert capsys.readouterr().out.strip() == (out / "summary.md").read_text().strip()


def test_efficiency_fails_when_a_case_does_but_measures_the_others(scans: Path, tmp_path: Path) -> None:
    code = 'sys.exit("broken") if (inputs / "a_0000.nii.gz").exists() else label()'
    arguments = ["efficiency", "--command", line(code), str(scans), "--to", str(tmp_path / "out"), "--no-plot"]
    assert main(arguments) == FAILED
    rows = (tmp_path / "out/efficiency_flare22.csv").read_text().splitlines()
    assert rows[1].startswith("a.nii.gz,3600")
    assert not rows[2].startswith("b.nii.gz,3600")


def test_latency_writes_the_table_a_trace_and_a_picture(
    scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, trace, picture = tmp_path / "out", tmp_path / "t.json", tmp_path / "w.png"
    options = ["--command", line(ENGINE), "--runs", "2", "--to", str(out), "--trace", str(trace)]
    assert main(["latency", str(scans), *options, "--picture", str(picture)]) == 0
    assert "| read | 10.000 | 3.500 |" in capsys.readouterr().out
    processes = [event for event in json.loads(trace.read_text())["traceEvents"] if event["name"] == "process_name"]
    # two cold starts and a warm process for each of the two scans
    assert len(processes) == 6
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "arguments",
    [
        ["efficiency", "SCANS", "--to", "OUT", "--command", "label them"],
        ["efficiency", "nowhere", "--to", "OUT", "--command", "run {inputs} {outputs}"],
        ["latency", "SCANS", "--to", "OUT", "--runs", "0"],
        ["bench", "SCANS", "--to", "OUT", "--peers-python", "nowhere/python"],
    ],
)
def test_arguments_that_cannot_be_used_are_refused_before_anything_runs(
    scans: Path, tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"SCANS": str(scans), "OUT": str(tmp_path / "out")}
    assert main([places.get(word, word) for word in arguments]) == UNUSABLE
    assert capsys.readouterr().err.startswith("evaluation: ")
    assert not (tmp_path / "out").exists()


def test_an_image_and_a_command_exclude_each_other(scans: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["efficiency", str(scans), "--to", "out", "--image", "x", "--command", f"{sys.executable} {{inputs}}"])
    assert exit_.value.code == UNUSABLE
    assert "not allowed with" in capsys.readouterr().err
