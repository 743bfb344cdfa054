"""Claims about training in several processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.training.learning.in_two_processes import MACHINE, TWO_SAMPLES
from tests.training.spheres import Spheres, recipe
from training.errors import TrainingError
from training.learning.batches import batches
from training.learning.checkpoint import Progress
from training.learning.fit import fit
from training.learning.machine import Machine, share_of_batch
from training.learning.plan import idle_gpus
from training.learning.run_files import read_log

ROOT = Path(__file__).resolve().parents[3]

TOLERANCES = {"frozen": 1e-4, "live": 0.05}
"""Relative, of an epoch's loss, with BatchNorm frozen and live: sums over processes are taken in another order. In the
deepest layer of so small a network, BatchNorm has sixteen voxels to go by, and blows rounding up: an input that is off
by 1e-7 changes the gradient by 2e-3."""


def losses(run: Path) -> list[float]:
    return [float(str(row["loss"])) for row in read_log(run / "log.jsonl") if "loss" in row]


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What in_two_processes.py writes."""
    folder = tmp_path_factory.mktemp("two")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    script = str(ROOT / "tests" / "training" / "learning" / "in_two_processes.py")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, script, str(folder)], env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    (folder / "stderr").write_text(done.stderr)
    return folder


@pytest.mark.parametrize("norms", ["frozen", "live"])
def test_two_processes_share_the_batch_and_have_the_loss_curve_of_one(
    two_processes: Path, tmp_path: Path, norms: str
) -> None:
    fit(recipe("sgd", norms == "frozen", batch=2, epochs=3), tmp_path, Spheres(), machine=MACHINE)
    assert len(losses(two_processes / norms)) == 3
    assert losses(two_processes / norms) == pytest.approx(losses(tmp_path), rel=TOLERANCES[norms])


def test_without_shared_norms_each_process_normalises_by_its_own_batch(two_processes: Path) -> None:
    own, shared = losses(two_processes / "own"), losses(two_processes / "live")
    assert len(own) == 3
    # the same samples and first weights, other statistics
    assert own != pytest.approx(shared, rel=1e-3)
    assert own == pytest.approx(shared, rel=0.5)


def test_batchnorm_of_two_processes_is_that_of_both_samples(two_processes: Path) -> None:
    norm = nn.BatchNorm3d(3).double()
    x = TWO_SAMPLES.clone().requires_grad_()
    y = norm(x)
    y.pow(3).sum().backward()
    parts = [torch.load(two_processes / f"norm-{rank}.pt", weights_only=True) for rank in (0, 1)]
    torch.testing.assert_close(torch.cat([part["y"] for part in parts]), y)
    torch.testing.assert_close(torch.cat([part["gradient"] for part in parts]), x.grad)
    for part in parts:
        torch.testing.assert_close(part["variance"], norm.running_var)


def test_a_batch_that_cannot_be_shared_is_refused_with_one_that_can() -> None:
    assert [share_of_batch(8, processes) for processes in (1, 2, 4)] == [8, 4, 2]
    with pytest.raises(TrainingError, match=r"4 processes cannot share a batch of 2 evenly; .* --set run.batch=4"):
        share_of_batch(2, 4)


class AskedError(Exception):
    """In place of processes: the devices that Fabric was asked for."""


def test_of_four_gpus_a_run_takes_as_many_as_share_its_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    def fabric(**asked: object) -> None:
        raise AskedError(asked["devices"])

    for name in ("LOCAL_WORLD_SIZE", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("training.learning.machine.Fabric", fabric)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)

    def devices(machine: Machine, batch: int) -> object:
        with pytest.raises(AskedError) as asked:
            machine.launch(recipe(batch=batch))
        return asked.value.args[0]

    assert [devices(Machine(), batch) for batch in (1, 2, 3, 4, 6, 8)] == [1, 2, 3, 4, 3, 4]
    # what is asked for is tried, and refused where the batch cannot be shared
    assert devices(Machine(devices=4), 2) == 4
    told = idle_gpus(recipe(batch=2), Machine(), Progress())
    assert told == "2 of 4 GPUs: a batch of 2 is shared evenly; --set run.batch=4 uses all"
    assert idle_gpus(recipe(batch=3), Machine(), Progress(step=7)) == "3 of 4 GPUs: a batch of 3 is shared evenly"
    assert idle_gpus(recipe(batch=4), Machine(), Progress()) is None
    assert idle_gpus(recipe(batch=2), Machine(devices=1), Progress()) is None
    # torchrun has started as many as it was told
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert devices(Machine(), 2) == "auto"
    assert idle_gpus(recipe(batch=2), Machine(), Progress()) is None


def test_the_first_line_says_what_each_device_does(two_processes: Path) -> None:
    said = (two_processes / "stderr").read_text()
    # 2 samples a step of one epoch of 4 steps; 3 epochs
    assert "2 cpu devices, batch 2 (1 each); 4 steps (8 samples) an epoch, 3 epochs (24 samples)" in said


def test_processes_share_out_the_samples_of_one_with_the_whole_batch() -> None:
    alone = next(batches(Spheres(), recipe(batch=4), first=8, rank=0, processes=1))
    shares = [next(batches(Spheres(), recipe(batch=4), first=8, rank=rank, processes=2)) for rank in (0, 1)]
    torch.testing.assert_close(torch.cat([share.images for share in shares]), alone.images, rtol=0, atol=0)
