"""A run that is ended at any moment leaves whole label maps, and the next run leaves nothing else.

The suite ends 20 runs; ``KILLS=200 pytest tests/engine/test_kills.py`` ends more of them.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from attention_dmfnet.cli.status import DONE, INTERRUPTED
from attention_dmfnet.files.image_io import read_volume, write_volume

from tests.engine.tiny import block_phantom

KILLS = int(os.environ.get("KILLS", "20"))
CASES = 6
PATIENCE_S = 600.0


def _command(folder: Path, models: Path) -> list[str]:
    arguments = ["predict", str(folder / "in"), str(folder / "out"), "--models", str(models), "--device", "cpu"]
    return [sys.executable, "-m", "attention_dmfnet", *arguments]


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, npt.NDArray[np.uint8]]:
    """A folder with one scan under several names, and its labels."""
    folder = tmp_path_factory.mktemp("killed")
    (folder / "in").mkdir()
    ct, truth = block_phantom((60, 120, 140))
    write_volume(ct, folder / "in" / "0.nii.gz")
    for number in range(1, CASES):
        os.link(folder / "in" / "0.nii.gz", folder / "in" / f"{number}.nii.gz")
    return folder, truth.array


def _assert_whole(outputs: Path, truth: npt.NDArray[np.uint8]) -> int:
    """Every file with a label map's name is one; returns how many there are."""
    whole = [path for path in outputs.glob("*.nii.gz") if not path.name.startswith(".")] if outputs.exists() else []
    for path in whole:
        np.testing.assert_array_equal(read_volume(path).array, truth)
    return len(whole)


def _until_signals_are_heeded(run: "subprocess.Popen[str]") -> float:
    """Wait for it, and return when that was: before, an interrupt is the interpreter's to answer."""
    until_s = time.monotonic() + PATIENCE_S
    while run.poll() is None and not _heeds(run.pid, signal.SIGTERM):
        assert time.monotonic() < until_s, "the run did not begin"
        time.sleep(0.002)
    return time.monotonic()


def _heeds(pid: int, number: signal.Signals) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:  # it has ended
        return False
    caught = next((line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")), "0")
    return bool(int(caught, 16) >> (number - 1) & 1)


def test_runs_that_are_ended_at_any_moment_leave_whole_files_alone_and_the_next_one_finishes(
    scans: tuple[Path, npt.NDArray[np.uint8]], models: Path
) -> None:
    folder, truth = scans
    command = _command(folder, models)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **quiet) as run:  # type: ignore[call-overload]
        begun_s = _until_signals_are_heeded(run)
        said = run.communicate(timeout=PATIENCE_S)[1]
        whole_s = time.monotonic() - begun_s
    assert run.returncode == DONE, said
    assert _assert_whole(folder / "out", truth) == CASES
    moments = random.Random(16)
    ended = 0
    for number in range(KILLS):
        for path in (folder / "out").glob("[0-9]*.nii.gz"):
            path.unlink()
        how = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)[number % 3]
        with subprocess.Popen(command, **quiet) as run:  # type: ignore[call-overload]
            begun_s = _until_signals_are_heeded(run)
            try:
                said = run.communicate(timeout=whole_s * moments.random())[1]
                # it was faster than those before, as on a machine that other work has left
                whole_s = time.monotonic() - begun_s
            except subprocess.TimeoutExpired:
                run.send_signal(how)
                said = run.communicate(timeout=PATIENCE_S)[1]
        if run.returncode != DONE:
            ended += 1
            expected = {-how} if how == signal.SIGKILL else {INTERRUPTED, -how}
            assert run.returncode in expected, (how, said)
        _assert_whole(folder / "out", truth)
    assert ended > KILLS // 4, "the runs were over before they were ended"
    subprocess.run(command, check=True, **quiet)  # type: ignore[call-overload]
    assert _assert_whole(folder / "out", truth) == CASES
    assert sorted(path.name for path in (folder / "out").iterdir()) == [
        *(f"{n}.nii.gz" for n in range(CASES)),
        "run.json",
    ]
