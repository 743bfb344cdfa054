"""Claims about processes that train together: when one fails, the others end, with one sentence."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.ports import free_port
from training.errors import TrainingError
from training.learning.stop import TrainingStoppedError
from training.learning.watch import Watch

ROOT = Path(__file__).resolve().parents[3]


class Board:
    """A store in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def set(self, key: str, value: str) -> None:
        self.kept[key] = value.encode()

    def get(self, key: str) -> bytes:
        return self.kept[key]

    def check(self, keys: list[str]) -> bool:
        return all(key in self.kept for key in keys)


def watches(board: Board) -> tuple[Watch, Watch]:
    return Watch(0, 2, board), Watch(1, 2, board)


def test_what_one_failed_with_is_what_the_other_hears() -> None:
    board = Board()
    one, other = watches(board)
    with pytest.raises(TrainingError), other:
        raise TrainingError("the loss became nan")
    assert one.poll() == "process 1 of the run failed: the loss became nan"
    assert Watch(1, 2, board).poll() is None  # it knows that itself


def test_one_that_is_silent_for_twenty_polls_is_gone_and_one_that_is_done_is_not() -> None:
    board = Board()
    one, other = watches(board)
    for _ in range(30):
        assert other.poll() is None
        assert one.poll() is None
    assert [one.poll() for _ in range(19)] == [None] * 19
    said = one.poll()
    assert said is not None
    assert said.startswith("process 1 of the run is gone")
    board.set("over-1", "")
    assert one.poll() is None


def test_a_stop_is_no_failure_and_a_lost_store_is_the_first_process() -> None:
    board = Board()
    one, other = watches(board)
    with pytest.raises(TrainingStoppedError), other:
        raise TrainingStoppedError("stopped", 15)
    assert one.poll() is None

    def broken(keys: list[str]) -> bool:
        raise RuntimeError("connection reset by peer")

    board.check = broken  # type: ignore[method-assign]
    assert one.poll() == "the run's first process is gone"


TOGETHER = """
import os, sys
from pathlib import Path
from tests.training.spheres import Spheres, recipe
from training.errors import TrainingError
from training.learning.fit import Machine, fit

class Failing(Spheres):
    drawn = 0
    def sample(self, rng):
        Failing.drawn += 1
        if os.environ["RANK"] == "1" and Failing.drawn > 3:
            if sys.argv[2] == "killed":
                os._exit(137)
            raise TrainingError("the data are damaged")
        return super().sample(rng)

try:
    fit(recipe("sgd", batch=2, epochs=500), Path(sys.argv[1]), Failing(), machine=Machine("cpu", threads=1))
except TrainingError as error:
    sys.exit(f"SAID {error}")
"""


@pytest.mark.parametrize("how", ["fails", "killed"])
def test_one_of_two_that_fails_ends_the_other_within_a_minute(tmp_path: Path, how: str) -> None:
    port = free_port()
    common = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'engine'}",
        **{"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
        **{"TORCHELASTIC_RUN_ID": "test", "GROUP_RANK": "0", "OMP_NUM_THREADS": "1"},
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TOGETHER, str(tmp_path / "run"), how],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    assert processes[1].wait(timeout=1000) == (137 if how == "killed" else 1)
    failed = time.monotonic()
    _, said = processes[0].communicate(timeout=100)
    assert time.monotonic() - failed < 60
    assert processes[0].returncode == 1
    what = "process 1 of the run failed: the data are damaged" if how == "fails" else "process of the run is gone"
    assert said.count(what) == 1
    processes[1].communicate()
