"""Claims about what is kept where a process other than the first fails: the first writes its last whole step."""

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.ports import free_port
from tests.training.spheres import Spheres, recipe
from training.learning.checkpoint import CHECKPOINT, Progress
from training.learning.fit import Machine, fit
from training.learning.learner import Learner
from training.learning.watch import Watch

ROOT = Path(__file__).resolve().parents[3]
CPU = Machine("cpu", threads=1)

TOGETHER = """
import os, signal, sys
from pathlib import Path
import numpy as np
from msgspec.structs import replace
from tests.training.spheres import Spheres, recipe
from training.errors import TrainingError
from training.learning.fit import Machine, fit

class LosesAWorker(Spheres):
    state = np.random.default_rng((1, 2 * 8 + 1)).bit_generator.state
    def sample(self, rng):
        if os.environ["RANK"] == "1" and rng.bit_generator.state == self.state:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().sample(rng)

how = recipe("sgd", batch=2, epochs=500, checkpoint_every_s=1e6, shared_norms=False)
how = replace(how, sampling=replace(how.sampling, workers=1))
try:
    fit(how, Path(sys.argv[1]), LosesAWorker(), machine=Machine("cpu", threads=1))
except TrainingError as error:
    sys.exit(f"SAID {error}")
"""


def norm_counts(run: Path) -> set[int]:
    """How many batches the BatchNorms of a checkpoint have seen."""
    return {int(value) for key, value in load_file(run / CHECKPOINT).items() if key.endswith("num_batches_tracked")}


def test_a_data_worker_that_is_killed_in_the_second_process_leaves_the_firsts_checkpoint(tmp_path: Path) -> None:
    common = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'engine'}",
        **{"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())},
        **{"TORCHELASTIC_RUN_ID": "test", "GROUP_RANK": "0", "OMP_NUM_THREADS": "1"},
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TOGETHER, str(tmp_path / "run")],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    first, second = (process.communicate(timeout=1000)[1] for process in processes)
    assert [process.returncode for process in processes] == [1, 1]
    assert "SAID a data worker was killed" in second
    assert "is written" not in second
    (step,) = set(map(int, re.findall(r"a checkpoint of step (\d+) is written", first)))
    assert 1 <= step <= 8
    # the step under way, for which BatchNorm has seen its samples, is not in it
    assert norm_counts(tmp_path / "run") == {step}
    again = recipe("sgd", batch=2, epochs=3, shared_norms=False, checkpoint_every_s=1e6)
    fit(again, tmp_path / "run", Spheres(), machine=CPU, resume=True)
    assert norm_counts(tmp_path / "run") == {12}


def test_a_checkpoint_that_is_written_amid_a_step_is_that_of_the_steps_before(tmp_path: Path) -> None:
    how = recipe("sgd")
    learner = Learner(how, CPU.launch(how), None)
    stream, progress = learner.batches(Spheres(), first=0), Progress()
    for amid in (tmp_path / "before", tmp_path / "amid"):
        amid.mkdir()
    learner.update(learner.gradients(next(stream), 0, 0.0), 0, tmp_path)
    progress.step = 1
    learner.save(tmp_path / "before", Spheres(), progress)
    learner.gradients(next(stream), 1, 0.0)
    assert int(learner.network.get_submodule("encode2.0.mix_in.0").num_batches_tracked) == 2  # type: ignore[arg-type]
    learner.save(tmp_path / "amid", Spheres(), progress)
    before, amid_step = (load_file(tmp_path / name / CHECKPOINT) for name in ("before", "amid"))
    assert before.keys() == amid_step.keys()
    assert all(torch.equal(before[key], amid_step[key]) for key in before)


class Board:
    """A store in memory, in which process 1 has failed."""

    def set(self, key: str, value: str) -> None:
        """Nobody asks."""

    def get(self, key: str) -> bytes:
        return b"1: the data are damaged"

    def check(self, keys: list[str]) -> bool:
        return keys == ["failed"]


def test_a_process_is_not_ended_amid_a_step_and_keeps_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.learning.watch._POLL_S", 0.01)
    said: list[str] = []
    watch = Watch(0, 2, Board(), said.append)
    watch.keeping.acquire()
    with watch:
        watch._thread.join(0.3)
        assert said == []
        watch.keep = lambda: "a checkpoint of step 7 is written: go on with --resume"
        watch.keeping.release()
        watch._thread.join(10)
    failed = "process 1 of the run failed: the data are damaged; this one ends too"
    assert said == [f"{failed}; a checkpoint of step 7 is written: go on with --resume"]


def test_a_disk_that_does_not_answer_does_not_keep_a_process_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.learning.watch._POLL_S", 0.01)
    monkeypatch.setattr("training.learning.watch._KEEP_S", 0.1)
    said: list[str] = []
    watch = Watch(0, 2, Board(), said.append)
    watch.keep = lambda: str(threading.Event().wait())
    with watch:
        watch._thread.join(10)
    assert len(said) == 1
    assert "no checkpoint was written within 0 s" in said[0]
