"""Training over two nodes: torchrun on two loopback addresses, one of which is lost and comes back."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import safetensors

from tests.ports import free_port
from training.learning.checkpoint import CHECKPOINT

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = Path(__file__).with_name("on_two_nodes.py")


def start(folder: Path, epochs: int, how: str) -> list[subprocess.Popen[bytes]]:
    """One torchrun for each node."""
    port = free_port("127.0.0.2")
    paths = f"{ROOT}{os.pathsep}{ROOT / 'engine'}"
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    nodes = []
    for node in (0, 1):
        launcher = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
        launcher += ["--node-rank", str(node), "--master-addr", "127.0.0.2", "--master-port", str(port)]
        launcher += ["--local-addr", f"127.0.0.{2 + node}", str(SCRIPT), str(folder), str(epochs), how]
        said = (folder / f"said-{node}").open("ab")
        nodes.append(subprocess.Popen(launcher, cwd=ROOT, env=environment, stderr=said))
    return nodes


def lose(node: "subprocess.Popen[bytes]") -> None:
    """Kill a node's launcher and its process of the run, which has a session of its own."""
    if node.poll() is None:
        launcher = psutil.Process(node.pid)
        for process in (*launcher.children(recursive=True), launcher):
            # one may end because another one did
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        node.wait()


def drawn(folder: Path, node: int) -> int:
    try:
        return (folder / f"drawn-{node}").stat().st_size
    except FileNotFoundError:
        return 0


def test_a_lost_node_ends_the_run_with_a_checkpoint_within_a_minute_and_it_goes_on_from_there(tmp_path: Path) -> None:
    first, second = start(tmp_path, 100_000, "begin")
    try:
        until = time.monotonic() + 1000
        while min(drawn(tmp_path, 0), drawn(tmp_path, 1)) < 12:
            assert time.monotonic() < until, (tmp_path / "said-0").read_text()
            assert first.poll() is None, (tmp_path / "said-0").read_text()
            time.sleep(0.2)
        lose(second)
        lost = time.monotonic()
        assert first.wait(timeout=100) != 0
        assert time.monotonic() - lost < 60
    finally:
        for node in (first, second):
            lose(node)
    with safetensors.safe_open(tmp_path / "run" / CHECKPOINT, framework="pt") as kept:
        step = json.loads(kept.metadata()["progress"])["step"]
    assert step >= 2
    # each node has drawn its half of each batch of 4, and no more than the batch that was never learned from
    for rank in (0, 1):
        assert 2 * step <= drawn(tmp_path, rank) <= 2 * (step + 2)
    again = start(tmp_path, step // 4 + 2, "resume")
    assert [node.wait(timeout=1000) for node in again] == [0, 0], (tmp_path / "said-0").read_text()
    assert f"from step {step} on" in (tmp_path / "said-0").read_text()
