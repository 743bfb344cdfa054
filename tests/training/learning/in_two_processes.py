"""Run under torchrun by test_parallel.py, with the folder for what comes of it."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist

from tests.training.spheres import Spheres, recipe
from training.learning.fit import Machine, fit
from training.learning.norms import SharedBatchNorm3d

TWO_SAMPLES = torch.randn(2, 3, 2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
MACHINE = Machine("cpu", threads=1)


def main(folder: Path) -> None:
    """Train with one sample of each batch, with live, frozen and unshared norms; normalise one of two samples."""
    fit(recipe("sgd", batch=2, epochs=3), folder / "live", Spheres(), machine=MACHINE)
    fit(recipe("sgd", frozen_norms=True, batch=2, epochs=3), folder / "frozen", Spheres(), machine=MACHINE)
    fit(recipe("sgd", batch=2, epochs=3, shared_norms=False), folder / "own", Spheres(), machine=MACHINE)
    rank = dist.get_rank()
    norm = SharedBatchNorm3d(3).double()
    x = TWO_SAMPLES[[rank]].requires_grad_()
    y = norm(x)
    y.pow(3).sum().backward()
    torch.save({"y": y.detach(), "gradient": x.grad, "variance": norm.running_var}, folder / f"norm-{rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
