"""Claims about the protocol table."""

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from tests.training.spheres import Spheres, cases, recipe
from training.__main__ import main
from training.errors import TrainingError
from training.learning.checkpoint import CheckpointError, Progress
from training.learning.energy import cpu_seconds
from training.learning.environment import ENVIRONMENT, describe, read_environment
from training.learning.fit import Machine, fit
from training.learning.run_files import RECIPE
from training.learning.source import Sample
from training.recipe import Loss, write_recipe
from training.reports.card import describe_run, paper_tables
from training.reports.energy import energy_rows

ROOT = Path(__file__).resolve().parents[3]


class TwoClasses(Spheres):
    """Either ball is any organ."""

    def sample(self, rng: np.random.Generator) -> Sample:
        sample = super().sample(rng)
        return Sample(sample.image, (sample.labels > 0).astype(np.uint8))


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


def test_options_of_the_loss_are_named(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    with_options = replace(recipe("sgd"), loss=Loss(tversky_beta=(0.5, 0.5, 0.7), edge_weight=3))
    (tmp_path / "run" / RECIPE).write_text(write_recipe(with_options))
    loss = rows(describe_run(tmp_path / "run"))["Loss"]
    assert loss.startswith("Tversky, beta 0.5 0.5 0.7 + cross-entropy, edges times 3; on pseudo labels: Tversky")


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


def test_what_was_counted_is_what_counts(run: Path) -> None:
    used = Progress(spent_s=3600, cpu_s=7200, gpu_joules=3.6e6)
    node = replace(describe(processes=8), gpus=("GPU",) * 4, gpu_watts=1600.0, threads=4)
    rows = dict(energy_rows(used, node, None, 100))
    assert rows["CPUs"].startswith("0.240 kWh: 16.00 hours of CPU threads as counted")  # 8 x 2 h x 15 W
    assert rows["GPUs"] == "2.000 kWh: as the GPUs themselves counted it (NVML)"  # two machines of four
    assert rows["CO2"] == "224 g at 100 g/kWh"
    unseen = dict(energy_rows(Progress(spent_s=3600), node, None, 100))
    assert unseen["CPUs"].startswith("0.480 kWh: all 32 threads")
    assert unseen["GPUs"].startswith("3.200 kWh: the limit of their power, 3200 W")
    assert dict(energy_rows(used, describe(processes=1), None, 100))["GPUs"] == "0.000 kWh: none was used"


def test_a_run_counts_its_cpu_seconds(run: Path) -> None:
    used = msgspec.json.decode(progress(run))
    assert 0 < used["cpu_s"] < 600
    assert used["gpu_joules"] == 0
    before = cpu_seconds()
    sum(number * number for number in range(2_000_000))
    assert 0.01 < cpu_seconds() - before < 60


def test_tables_1_to_3_are_the_templates(run: Path, tmp_path: Path) -> None:
    fit(coarse := replace(recipe("sgd"), stage="coarse", network=replace(recipe().network, classes=2)),
        tmp_path / "coarse", TwoClasses(), machine=Machine("cpu", threads=1))  # fmt: skip
    assert coarse.stage == "coarse"
    assert main(["card", str(run), str(tmp_path / "coarse"), "--to", str(tmp_path / "card.md")]) == 0
    text = (tmp_path / "card.md").read_text()
    one, two, three = (text.index(f"Table {number}.") for number in (1, 2, 3))
    assert "| Programming language | Python 3." in text[one:two]
    assert "| Deep learning framework | PyTorch 2." in text[one:two]
    for table in (text[two:three], text[three : text.index("# Training protocol")]):
        for row in ("Network initialization | He normal", "Batch size | 2", "Number of flops | ", "CO2eq | "):
            assert f"| {row}" in table
    with pytest.raises(TrainingError, match="both runs are of the fine stage"):
        paper_tables([run, run])


def test_a_releases_weights_have_a_card_too() -> None:
    weights = ROOT / "models" / "fine.safetensors"
    table = rows(describe_run(weights))
    assert table["Total epochs"] == table["Training time"] == "not recorded with these weights"
    assert table["Energy"] == "unknown: nothing was recorded with these weights"
    assert table["Number of parameters"].endswith(" M")


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
