"""Run under torchrun by test_nodes.py, once for each node: the folder, the steps of the whole run, and how to begin."""

import os
import sys
from pathlib import Path

import numpy as np

from tests.training.spheres import Spheres, recipe
from training.errors import TrainingError
from training.learning.fit import Machine, fit
from training.learning.source import Sample


class Counted(Spheres):
    """A source that adds a byte to its process's file for each sample drawn: a kill at any moment loses no count."""

    def sample(self, rng: np.random.Generator) -> Sample:
        with (Path(sys.argv[1]) / f"drawn-{os.environ['RANK']}").open("ab") as drawn:
            drawn.write(b".")
        return super().sample(rng)


def main() -> int:
    folder, epochs, resume = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "resume"
    # no checkpoint by the clock: what is there when a node was lost was written because of that
    how = recipe("sgd", frozen_norms=True, batch=4, epochs=epochs, checkpoint_every_s=1e6, validation_cases=0)
    try:
        fit(how, folder / "run", Counted(), machine=Machine("cpu", 1, 2, threads=1), resume=resume)
    except TrainingError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
