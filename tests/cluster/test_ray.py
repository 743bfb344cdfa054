"""Real workers of Ray on two nodes of this machine: one run with a kill, a case that kills, and a coordinator's end."""

import contextlib
import functools
import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
from attention_dmfnet.cli.main import main as engine_main

import cluster.predict_command
from cluster import ray_crew
from cluster.__main__ import main
from cluster.crew import Event, Ready
from cluster.dispatch import Rules
from cluster.labelling import Labelled, Labeller, Order, Task
from cluster.options import needs_of
from cluster.ray_crew import Needs, RayCrew
from cluster.staging import Staging
from tests.cluster.conftest import write_scans
from tests.cluster.nodes import Nodes, nodes, wait_until
from tests.cluster.soak import soak
from tests.training.small_patients import write_flare22, write_teacher
from training.__main__ import main as training_main
from training.data.pseudo_folder import read_pseudo


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[Nodes]:
    with nodes(2) as made:
        yield made


@dataclass(frozen=True)
class Poisoned:
    """A worker that is killed by the case called ``name``, every time."""

    order: Order
    name: str

    def __call__(self) -> Callable[[Task], Labelled]:
        labeller: Labeller = self.order.make()

        def label(task: Task) -> Labelled:
            if task.case.name == self.name:
                os.kill(os.getpid(), signal.SIGKILL)
            return labeller(task)

        label.told, label.close = labeller.told, labeller.close  # type: ignore[attr-defined]
        return label


def poisoned(order: Order, payload_of: Callable[[str], Any], rules: Rules) -> RayCrew:
    make = Poisoned(order, "case_05")
    return RayCrew(make, payload_of, needs_of(order.options), rules.each, order.options.address)


def maps(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.nii.gz")}


def rows(outputs: Path, what: str) -> list[Any]:
    with contextlib.closing(sqlite3.connect(outputs / "ledger.sqlite")) as ledger:
        return ledger.execute(f"SELECT {what} FROM cases ORDER BY name").fetchall()


def done(outputs: Path) -> int:
    if not (outputs / "ledger.sqlite").exists():
        return 0
    try:
        return sum(state == "done" for (state,) in rows(outputs, "state"))
    except sqlite3.Error:  # its tables are being made
        return 0


def test_with_a_worker_killed_and_a_case_that_kills_every_other_case_is_done_once_and_as_alone(
    two_nodes: Nodes, tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"case_{n:02}" for n in range(12)]
    inputs = write_scans(tmp_path / "in", names)
    assert engine_main(["predict", str(inputs), str(tmp_path / "solo"), "--models", str(models)]) == 0
    monkeypatch.setattr(cluster.predict_command, "_ray", poisoned)
    outputs = tmp_path / "out"
    killed: list[int | None] = []

    def kill() -> None:
        wait_until(lambda: done(outputs) >= 2)
        killed.append(two_nodes.kill_a_worker(Random(0)))

    killer = threading.Thread(target=kill)
    killer.start()
    words = [str(inputs), str(outputs), "--models", str(models), "--address", two_nodes.address]
    assert main(["predict", *words, "--attempts", "3", "--worker-memory-mb", "500"]) == 1
    killer.join()
    said = capsys.readouterr()
    assert "case_05  FAILED" in said.out
    assert "given up: its worker was lost 3 times" in said.out
    assert "1 of 12 cases failed: case_05" in said.err
    expected = maps(tmp_path / "solo")
    del expected["case_05.nii.gz"]
    assert maps(outputs) == expected
    assert rows(outputs, "completions") == [(int(name != "case_05"),) for name in names]
    workers = {worker for (worker,) in rows(outputs, "worker")}
    assert len(workers) >= 2


def test_pseudo_labels_of_real_workers_are_those_of_one_process(
    two_nodes: Nodes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scans = write_flare22(tmp_path / "raw", labelled=0, unlabelled=3) / "FLARE22_UnlabeledCase1-1000"
    (scans / "Case_00009_0000.nii.gz").write_bytes(b"no scan")
    words = ["--models", str(write_teacher(tmp_path / "teacher")), "--device", "cpu", "--pictures", "0"]
    failures = []
    for to, machines in (("one", []), ("many", ["--cluster", two_nodes.address])):
        assert training_main(["pseudo-label", str(scans), "--to", str(tmp_path / to), *words, *machines]) == 1
        said = capsys.readouterr().err.splitlines()
        failures.append([line for line in said if line.startswith("Case_00009  FAILED: ")])
    assert len(failures[0]) == 1
    assert failures[0] == failures[1]
    assert read_pseudo(tmp_path / "many") == read_pseudo(tmp_path / "one")
    assert len(maps(tmp_path / "one" / "labels")) == 3
    assert maps(tmp_path / "many" / "labels") == maps(tmp_path / "one" / "labels")
    assert [state for (state,) in rows(tmp_path / "many", "state")] == ["done", "done", "done", "failed"]
    # by processes of Ray, not by this one
    assert {int(worker.partition(":")[2]) for (worker,) in rows(tmp_path / "many", "worker")}.isdisjoint({os.getpid()})


class Stages:
    """What a worker does whose scans are at a URL."""

    def __init__(self, folder: Path) -> None:
        self.close = Staging(folder, 100).close

    def __call__(self, payload: str) -> str:
        return payload


def test_workers_that_are_let_go_remove_what_they_staged(
    two_nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # that they do it is what counts here, not how soon on a busy machine
    monkeypatch.setattr(ray_crew, "_END_S", 600.0)
    crew = RayCrew(functools.partial(Stages, tmp_path), str, Needs(memory_mb=200), 2, two_nodes.address)
    crew.start()
    ready: list[Event] = []

    def began() -> bool:
        ready.extend(crew.wait(1.0))
        return bool(ready)

    wait_until(began)
    assert isinstance(ready[0], Ready)
    assert len(list(tmp_path.iterdir())) == 1
    crew.close()
    assert list(tmp_path.iterdir()) == []


def test_the_soak_on_few_cases_with_its_coordinator_killed(two_nodes: Nodes, tmp_path: Path) -> None:
    """``make cluster-soak`` in small; a node is lost there only, because another one takes long to come."""
    said = soak(two_nodes, tmp_path, cases=12, every_s=1000.0, lose_a_node=False)
    assert said.is_good, said
    assert (said.coordinators_killed, said.nodes_lost) == (1, 0)
    assert 12 <= said.attempts <= 12 + 2 * 2
