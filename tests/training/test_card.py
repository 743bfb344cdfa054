"""Claims about the protocol table."""

from pathlib import Path

import msgspec
import pytest

from tests.training.spheres import Spheres, cases, recipe
from training.learning.checkpoint import CheckpointError
from training.learning.environment import ENVIRONMENT, describe, read_environment
from training.learning.fit import Machine, fit
from training.reports.card import describe_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "carded"
    fit(recipe("sgd"), run, Spheres(), cases(1), Machine("cpu", threads=1))
    return run


def rows(text: str) -> dict[str, str]:
    cells = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ") and " | " in line]
    return {cell[0]: cell[1] for cell in cells if len(cell) == 2}


def test_the_papers_table_is_filled_from_the_run(run: Path) -> None:
    table = rows(describe_run(run))
    assert table["Network initialisation"] == "He normal"
    assert table["Batch size"] == "2"
    assert table["Patch size (z, y, x)"] == "32 x 32 x 32 voxels"
    assert table["Total epochs"] == "2 of 4 steps, 8 steps in all"
    assert table["Optimiser"] == "SGD, momentum 0.9, Nesterov, weight decay 0"
    assert table["Number of parameters"].endswith("M")
    assert "G multiply-accumulates" in table["Number of FLOPs"]
    assert table["spheres"] == "1"


def test_it_holds_the_validation_scores_and_the_machine(run: Path) -> None:
    text = describe_run(run)
    assert "## Validation, 1 cases" in text
    assert "| liver |" in text
    assert rows(text)["CPU"].endswith("1 x 1 threads used")


def test_energy_is_power_times_time(run: Path) -> None:
    hours = msgspec.json.decode(progress(run))["spent_s"] / 3600
    table = rows(describe_run(run, watts=10**9, grams_per_kwh=2))
    assert table["Energy"] == f"{hours * 10**6:.3f} kWh"
    assert table["CO2"] == f"{2 * hours * 10**6:.0f} g at 2 g/kWh"


def progress(run: Path) -> str:
    from safetensors import safe_open

    with safe_open(run / "checkpoint.safetensors", framework="pt") as file:
        text: str = file.metadata()["progress"]
    return text


def test_without_an_environment_the_energy_is_not_made_up(run: Path, tmp_path: Path) -> None:
    for name in ("recipe.toml", "checkpoint.safetensors"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    assert rows(describe_run(tmp_path))["Energy"] == "unknown: the run recorded no environment; give --watts"


def test_a_machine_can_be_written_and_read(tmp_path: Path) -> None:
    here = describe(processes=2)
    (tmp_path / ENVIRONMENT).write_bytes(msgspec.json.encode(here))
    assert read_environment(tmp_path) == here
    assert here.packages["torch"].startswith("2.")


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is no run folder"):
        describe_run(tmp_path)
