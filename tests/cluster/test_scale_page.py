"""What docs/scale.md tells people to type runs as it is written, on tiny inputs."""

import re
import shlex
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.__main__ import main
from cluster.ledger import Ending, Ledger
from tests.cluster.conftest import write_scans
from tests.cluster.store import Store

ROOT = Path(__file__).parents[2]
MACHINES = ROOT / "cluster" / "machines"
PAGE = (ROOT / "docs" / "scale.md").read_text()
BLOCKS = [block.replace("\\\n", " ") for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)]
SPANS = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", re.sub(r"```sh.*?```", "", PAGE, flags=re.DOTALL))]
LINES = [line for text in (*BLOCKS, *SPANS) for line in text.splitlines()]


def of_cluster(lines: list[str], command: str) -> list[list[str]]:
    """The arguments of each line that calls ``python -m cluster COMMAND``."""
    found = [re.search(rf"python -m cluster ({command} .*)", line) for line in lines]
    return [shlex.split(one[1], comments=True) for one in found if one is not None]


def test_the_first_commands_of_the_page_run_in_their_order(
    store: Store, tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store.put(write_scans(tmp_path / "scans", ["a"]), "scans")
    lines = of_cluster(BLOCKS[0].splitlines(), "(?:predict|status)")
    assert [words[0] for words in lines] == ["predict", "predict", "status"]
    for words in lines:
        own = ["--models", str(models)] if words[0] == "predict" else []
        assert main([*words, *own]) == 0
    assert "0 waiting, 0 running, 1 done, 0 failed" in capsys.readouterr().out
    assert store.content("labels")["a.nii.gz"] == (tmp_path / "labels" / "a.nii.gz").read_bytes()
    (question,) = (shlex.split(line)[2] for line in LINES if line.startswith("sqlite3 run.sqlite"))
    with sqlite3.connect("run.sqlite") as rows:
        rows.execute("UPDATE cases SET state = 'failed', error = 'why'")
        assert rows.execute(question).fetchall() == [("a", "why")]


def test_the_command_of_the_kubernetes_manifest_runs(store: Store, tmp_path: Path, models: Path) -> None:
    store.put(write_scans(tmp_path / "scans", ["a"]), "scans")
    job: Any = list(yaml.safe_load_all((MACHINES / "kuberay.yaml").read_text()))[1]["spec"]["entrypoint"]
    (words,) = of_cluster([job], "predict")
    places = {"/ledger/run.sqlite": str(tmp_path / "run.sqlite"), "/staging": str(tmp_path), "64": "1"}
    assert main([*(places.get(word, word) for word in words), "--models", str(models)]) == 0
    assert list(store.content("labels")) == ["a.nii.gz"]
    # what the page asks the head is this ledger
    asked = [words[1] for words in of_cluster([line for line in LINES if "kubectl exec" in line], "status")]
    assert asked == ["/ledger/run.sqlite"]


def test_the_copy_of_a_ledger_beside_the_labels_can_be_asked(tmp_path: Path) -> None:
    (asked,) = ([Path(words[1])] for words in of_cluster(LINES, "status") if "kept" in words[1])
    assert asked[0].name in (MACHINES / "slurm.sh").read_text()
    with Ledger(tmp_path / "run.sqlite", "model") as ledger:
        ledger.prepare(["a"], {})
        sqlite3.connect(tmp_path / "run.sqlite").backup(sqlite3.connect(tmp_path / asked[0].name))
    assert main(["status", str(tmp_path / asked[0].name)]) == 0


SIMULATIONS = of_cluster(LINES, "simulate")
# of none, pytest would skip the test
assert SIMULATIONS, "docs/scale.md has no line `python -m cluster simulate ...`"


@pytest.mark.parametrize("words", SIMULATIONS, ids=" ".join)
def test_a_simulation_of_the_page_runs(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    now = [100.0]
    with Ledger(tmp_path / "run.sqlite", "model", lambda: now[0]) as ledger:
        ledger.prepare(["a", "b"], {})
        for name in ledger.claim(2):
            now[0] += 2.0
            ledger.end(name, Ending("w", 4.0, 10_000_000, 100_000))
    assert main([*words, "--cases", "300", "--workers", "20"]) == 0


def test_ray_understands_how_it_is_started() -> None:
    from ray.scripts.scripts import start

    values = {"$head:$port": "HOST:6379", "$port": "6379", "$SLURM_CPUS_PER_TASK": "16"}
    slurm = (MACHINES / "slurm.sh").read_text()
    found = [*LINES, *slurm.splitlines()]
    asked = [shlex.split(line.strip().removesuffix("&"))[2:] for line in found if line.strip().startswith("ray start ")]
    assert len(asked) == 4
    for words in asked:
        context = start.make_context("ray start", [values.get(word, word) for word in words])
        assert context.params["head"] != bool(context.params["address"])


def test_the_secret_that_the_page_makes_is_the_one_that_the_manifest_asks_for() -> None:
    (line,) = (line for line in LINES if line.startswith("kubectl create secret generic"))
    name = shlex.split(line)[4]
    assert f"name: {name}" in (MACHINES / "kuberay.yaml").read_text()
