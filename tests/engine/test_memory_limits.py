"""Memory from far too little to enough: each case is labelled or fails by name, and no output is ever partial."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from attention_dmfnet.cli.status import DONE, SOME_FAILED, UNUSABLE
from attention_dmfnet.files.image_io import read_volume, write_volume

from tests.engine.tiny import block_phantom

SHAPE_ZYX = (60, 120, 140)
STEP_MB, STEPS = 5, 12

# Run with everything loaded: from here on only the cases need memory. Each step may take a little more.
SWEEP = """
import json, resource, sys
from pathlib import Path
import attention_dmfnet as dmf
from attention_dmfnet.cli.main import main
from tests.engine.test_faults import fake_segmenter
scans, outputs, step_mb, steps = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
dmf.load = lambda **settings: fake_segmenter()
main(["predict", scans, str(outputs / "warm")])
pages = int(Path("/proc/self/statm").read_text().split()[0])
used, (_, hard) = pages * resource.getpagesize(), resource.getrlimit(resource.RLIMIT_AS)
statuses = []
for step in range(steps):
    resource.setrlimit(resource.RLIMIT_AS, (used + step * step_mb * 2**20, hard))
    statuses.append(main(["predict", scans, str(outputs / str(step))]))
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
print(json.dumps(statuses), file=sys.stderr)
"""


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    write_volume(block_phantom(SHAPE_ZYX)[0], tmp_path / "in" / "large.nii.gz")
    write_volume(block_phantom()[0], tmp_path / "in" / "small.nii.gz")
    return tmp_path / "in"


def test_with_any_memory_each_case_is_labelled_or_fails_by_name(scans: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", SWEEP, str(scans), str(tmp_path), str(STEP_MB), str(STEPS)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    statuses = json.loads(run.stderr.splitlines()[-1])
    lines = run.stdout.splitlines()
    assert len(lines) == 2 * (STEPS + 1), "a line for every case of every run"
    small, large = (read_volume(tmp_path / "warm" / f"{name}.nii.gz").array for name in ("small", "large"))
    labelled = []
    for step, status in enumerate(statuses):
        said = {line.split()[0]: line for line in lines[2 * step + 2 : 2 * step + 4]}
        maps = {path.name for path in (tmp_path / str(step)).iterdir()}
        for name, truth in (("small", small), ("large", large)):
            if f"{name}.nii.gz" in maps:
                np.testing.assert_array_equal(read_volume(tmp_path / str(step) / f"{name}.nii.gz").array, truth)
                assert "FAILED" not in said[name]
            else:
                assert f"{name}.nii.gz: " in said[name], said
                assert "enough memory" in said[name], said
        assert maps <= {"small.nii.gz", "large.nii.gz"}, "nothing temporary is left"
        assert status == (DONE if len(maps) == 2 else SOME_FAILED)
        labelled.append(len(maps))
    assert 0 < sum(count < 2 for count in labelled) < STEPS, f"no step had too little, or none enough: {labelled}"


@pytest.mark.parametrize("limit_mb", [60, 200, 400, 800, 1600, 6000])
def test_the_command_itself_never_leaves_part_of_a_label_map(
    limit_mb: int, scans: Path, models: Path, tmp_path: Path
) -> None:
    """With the interpreter and a real runtime, which may end the process when they get no memory at all."""
    code = (
        "import resource, runpy, sys\n"
        f"resource.setrlimit(resource.RLIMIT_AS, ({limit_mb << 20}, {limit_mb << 20}))\n"
        "runpy.run_module('attention_dmfnet', run_name='__main__', alter_sys=True)\n"
    )
    arguments = ["predict", str(scans), str(tmp_path / "out"), "--models", str(models), "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    run = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, env=environment
    )
    outputs = tmp_path / "out"
    maps = _assert_each_is_whole(outputs) if outputs.exists() else set()
    assert (run.returncode == DONE) == (maps == {"small.nii.gz", "large.nii.gz"}), run.stderr[-2000:]
    if run.returncode in (SOME_FAILED, UNUSABLE):
        # said by a case's line, or on standard error
        assert "FAILED" in run.stdout or run.stderr.strip()
    if limit_mb == 6000:
        assert run.returncode == DONE, run.stderr[-2000:]


def _assert_each_is_whole(outputs: Path) -> set[str]:
    maps = {path.name for path in outputs.iterdir() if not path.name.startswith(".")} - {"run.json"}
    for name in maps:
        shape = SHAPE_ZYX if name == "large.nii.gz" else (20, 24, 28)
        np.testing.assert_array_equal(read_volume(outputs / name).array, block_phantom(shape)[1].array)
    return maps
