"""Memory from far too little to enough: each case is labelled or fails by name, and no output is ever partial."""

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
STEP_MB, STEPS = 4, 16

# Forked with everything loaded: only the cases need memory from here on. Data, not address space, of which threads
# reserve more than they use.
SWEEP = """
import ctypes, os, resource, sys
from pathlib import Path
import attention_dmfnet as dmf
from attention_dmfnet.cli.main import main
from tests.engine.test_faults import fake_segmenter
scans, outputs, step_mb, steps = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
dmf.load = lambda **settings: fake_segmenter()
main(["predict", scans + "/small.nii.gz", str(outputs / "warm")])
ctypes.CDLL(None).malloc_trim(0)
used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
for step in range(steps):
    child = os.fork()
    if child == 0:
        for descriptor, kind in ((1, "out"), (2, "err")):
            os.dup2(os.open(outputs / f"{step}.{kind}", os.O_WRONLY | os.O_CREAT), descriptor)
        limit = used + step * step_mb * 2**20
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        status = main(["predict", scans, str(outputs / str(step))])
        sys.stdout.flush()
        os._exit(status)
    (outputs / f"{step}.status").write_text(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))
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
    labelled = []
    for step in range(STEPS):
        status, out, err = ((tmp_path / f"{step}.{kind}").read_text() for kind in ("status", "out", "err"))
        outputs = tmp_path / str(step)
        maps = _assert_each_is_whole(outputs) if outputs.exists() else set()
        labelled.append(len(maps))
        assert (int(status) == DONE) == (len(maps) == 2), (step, status, out, err)
        if "OpenBLAS error" in err or int(status) < 0:
            continue  # a library that ends the process where it gets no memory
        assert int(status) in (DONE, SOME_FAILED), (step, status, out, err)
        said = {line.split()[0]: line for line in out.splitlines()}
        assert set(said) == {"small", "large"}
        for name, line in said.items():
            assert ("FAILED" in line) == (f"{name}.nii.gz" not in maps), (step, line)
            assert "FAILED" not in line or f"{name}.nii.gz" in line, "it is failed by name"
    assert labelled[0] < 2, f"the first step had enough: {labelled}"
    assert labelled[-1] == 2, f"the last step had too little: {labelled}"


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


RESAMPLED = """
import resource
from pathlib import Path
from attention_dmfnet.steps.resample import resample_linear
from tests.engine.tiny import block_phantom
ct, _ = block_phantom((60, 200, 200))
grid = ct.geometry.with_spacing((2.0, 2.1, 2.1))
used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
limit = used + (24 << 20)
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
try:
    resample_linear(ct, grid)
except MemoryError as error:
    print(error)
"""


def test_a_matrix_product_that_gets_no_buffer_is_an_error_and_not_the_end_of_the_process() -> None:
    """OpenBLAS would print that memory allocation still failed, and exit."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-c", RESAMPLED], capture_output=True, text=True, check=False, env=environment
    )
    assert (run.returncode, run.stdout) == (0, "no 40 MiB for matrix products\n"), run.stderr
