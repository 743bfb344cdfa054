import os
import stat
from pathlib import Path

import pytest
from attention_dmfnet.marks import STARTED, TRACE_VARIABLE

from evaluation.cost.cold_start import cold_start
from evaluation.cost.system import System, image_system
from evaluation.errors import EvaluationError
from tests.evaluation.cost.fakes import fake_scan, fake_system


def test_the_system_sees_one_scan_and_an_empty_folder_for_its_labels(tmp_path: Path) -> None:
    fake_scan(tmp_path / "scans", "other_0000.nii.gz")
    scan = fake_scan(tmp_path / "scans", "Case_00001_0000.nii.gz")
    code = "print([p.name for p in inputs.iterdir()], list(outputs.iterdir())); label()"
    for _ in range(2):  # nothing of the first run is there in the second
        run = cold_start(fake_system(code), scan, tmp_path / "out")
        assert run.failure is None
        assert (tmp_path / "out/logs/Case_00001.txt").read_text() == "['Case_00001_0000.nii.gz'] []\n"
    assert [path.name for path in (tmp_path / "out/predictions").iterdir()] == ["Case_00001.nii.gz"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["logs", "predictions"]


def test_samples_cover_the_case_from_before_its_start_to_after_its_end(tmp_path: Path) -> None:
    run = cold_start(fake_system("time.sleep(1.5); label()"), fake_scan(tmp_path), tmp_path / "out")
    times_s = [sample.time_s for sample in run.samples]
    assert times_s == sorted(times_s)
    assert times_s[0] < run.start_s < run.stop_s <= times_s[-1]
    assert times_s[1] - times_s[0] >= 0.1
    assert run.wall_s >= 1.5
    assert len(times_s) > 3
    assert all(b.busy_s >= a.busy_s for a, b in zip(run.samples, run.samples[1:], strict=False))
    assert all(sample.ram_mib > 0 and sample.gpu_mib is None for sample in run.samples)


def test_the_cases_own_cost_is_measured(tmp_path: Path) -> None:
    run = cold_start(fake_system("burn(0.5); label()"), fake_scan(tmp_path), tmp_path / "out")
    assert run.tree is not None
    assert 0.5 <= run.tree.cpu_s < 5.0
    assert 5 < run.tree.peak_mib < 100


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("print('reading'); sys.exit('no memory left')", "exit status 1: no memory left"),
        ("sys.exit(3)", "exit status 3: nothing was printed"),
        ("pass", "no label map named case.nii.gz"),
        ("(outputs / 'case_0000.nii.gz').touch()", "no label map named case.nii.gz"),
    ],
)
def test_a_run_without_a_label_map_has_failed_and_says_why(tmp_path: Path, code: str, why: str) -> None:
    assert cold_start(fake_system(code), fake_scan(tmp_path), tmp_path / "out").failure == why


def test_a_run_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    run = cold_start(fake_system("time.sleep(600)"), fake_scan(tmp_path), tmp_path / "out", time_limit_s=0.5)
    assert run.failure == "stopped after 0.5 s"
    assert run.wall_s < 300


def test_a_system_that_cannot_be_started_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="cannot start 'no-such-program'"):
        cold_start(System("none", ("no-such-program",)), fake_scan(tmp_path), tmp_path / "out")


def test_step_marks_are_read_and_not_left_among_the_label_maps(tmp_path: Path) -> None:
    code = f"""
now = time.perf_counter()
marks = [("{STARTED}", now, now), ("read", now + 0.1, now + 0.3)]
lines = [json.dumps(dict(name=n, start_s=a, stop_s=b, thread="MainThread")) for n, a, b in marks]
Path(os.environ["{TRACE_VARIABLE}"]).write_text("\\n".join(lines))
time.sleep(0.4)
label()
"""
    run = cold_start(fake_system(code), fake_scan(tmp_path), tmp_path / "out")
    assert run.trace is not None
    assert [step.name for step in run.trace.steps] == ["start", "read", "exit"]
    assert run.trace.seconds()["read"] == pytest.approx(0.2)
    assert run.trace.wall_s == run.wall_s
    assert [path.name for path in (tmp_path / "out/predictions").iterdir()] == ["case.nii.gz"]


def test_a_system_without_step_marks_has_no_trace(tmp_path: Path) -> None:
    assert cold_start(fake_system(), fake_scan(tmp_path), tmp_path / "out").trace is None


def test_an_image_is_run_by_the_organisers_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a fake engine, which labels the scan itself and tells what it was asked for."""
    engine = tmp_path / "bin" / "fakedocker"
    engine.parent.mkdir()
    engine.write_text(
        '#!/bin/sh\nfor word; do echo "$word"; case $word in\n'
        "  *:/workspace/inputs/) inputs=${word%%/:/workspace/inputs/} ;;\n"
        "  *:/workspace/outputs/) outputs=${word%%/:/workspace/outputs/} ;;\nesac; done\n"
        'cp "$inputs/case_0000.nii.gz" "$outputs/case.nii.gz"\n'
    )
    engine.chmod(engine.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{engine.parent}{os.pathsep}{os.environ['PATH']}")
    run = cold_start(image_system("team", 1, "fakedocker"), fake_scan(tmp_path), tmp_path / "out")
    assert run.failure is None
    exchange = tmp_path / "out" / "exchange"
    words = (tmp_path / "out/logs/case.txt").read_text().splitlines()
    assert words == [
        *("container", "run", "--gpus=device=1", "--name", f"team{os.getpid()}", "--rm"),
        *("--cidfile", f"{exchange}/container-id"),
        *("-e", f"{TRACE_VARIABLE}=/workspace/outputs/.step-marks.jsonl"),
        *("-v", f"{exchange}/inputs/:/workspace/inputs/", "-v", f"{exchange}/outputs/:/workspace/outputs/"),
        *("team:latest", "/bin/bash", "-c", "sh predict.sh"),
    ]
    # the command is not the container: its own CPU-seconds say nothing about the case
    assert run.tree is None
    assert run.trace is None
