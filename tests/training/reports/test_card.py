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
from training.learning.run_files import LOG, RECIPE, read_log
from training.learning.source import Sample
from training.recipe import Loss, write_recipe
from training.reports.card import describe_run, paper_tables
from training.reports.energy import energy_rows
from training.reports.gpu_power import tdp_watts

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


def test_where_nvml_tells_nothing_the_tdp_counts_and_where_that_is_unknown_the_sums_say_so() -> None:
    used, node = Progress(spent_s=36000, cpu_s=36000), replace(describe(processes=4), threads=4)
    volta = replace(node, gpus=("Tesla V100-SXM2-32GB",) * 4, gpu_watts=None)
    known = dict(energy_rows(used, volta, None, 475))
    assert known["GPUs"] == "12.000 kWh: TDP of Tesla V100-SXM2-32GB, 1200 W, all the time: too much"  # 10 h
    assert known["Energy"] == "12.600 kWh"  # and 4 x 10 h x 15 W
    unknown = dict(energy_rows(used, replace(volta, gpus=(*volta.gpus[:3], "Some GPU")), None, 475))
    assert unknown["GPUs"].startswith("unknown: neither NVML nor a table of TDP tells the power of Tesla V100")
    assert unknown["Energy"] == "0.600 kWh, without the GPUs"
    assert unknown["CO2"] == "285 g at 475 g/kWh, without the GPUs"
    given = dict(energy_rows(used, replace(volta, gpus=("Some GPU",)), 1000, 475))
    assert given["Energy"] == "10.000 kWh"


@pytest.mark.parametrize(
    ("name", "watts"),
    [
        ("NVIDIA A100-PCIE-40GB", 250),
        ("NVIDIA A100 80GB PCIe", 300),
        ("NVIDIA A100-SXM4-80GB", 400),
        ("NVIDIA H100 80GB HBM3", 700),
        ("Tesla T4", 70),
        ("Quadro RTX 5000", 230),
        # others that are called nearly so
        ("NVIDIA RTX 5000 Ada Generation", None),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None),
        ("NVIDIA GeForce RTX 3090 Ti", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA A10G", None),
        ("NVIDIA L40", None),
    ],
)
def test_the_power_of_a_gpu_is_that_of_its_whole_name(name: str, watts: int | None) -> None:
    assert tdp_watts([name]) == watts


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
    with_gpus = replace(describe(processes=1), gpus=("Some GPU",), gpu_watts=None)
    (tmp_path / "coarse" / ENVIRONMENT).write_bytes(msgspec.json.encode(with_gpus))
    text = paper_tables([run, tmp_path / "coarse"])
    assert [line.endswith("without the GPUs |") for line in text.splitlines() if "CO2eq" in line] == [True, False]
    with pytest.raises(TrainingError, match="both runs are of the fine stage"):
        paper_tables([run, run])


def test_a_releases_weights_have_a_card_too() -> None:
    weights = ROOT / "models" / "fine.safetensors"
    table = rows(describe_run(weights))
    assert table["Total epochs"] == table["Training time"] == "not recorded with these weights"
    assert table["Energy"] == "unknown: nothing was recorded with these weights"
    assert table["Number of parameters"].endswith(" M")


def test_best_weights_and_snapshots_are_described_by_their_run_and_a_mean_by_itself(tmp_path: Path) -> None:
    run = tmp_path / "run"
    scored = recipe("sgd", validate_every_epochs=1, validation_cases=1, snapshots_at=(0.5,))
    fit(scored, run, Spheres(), cases(1), Machine("cpu", threads=1))
    of_run = rows(describe_run(run))
    assert of_run["Weights"] == "the last"
    best, half = describe_run(run / "best"), describe_run(run / "snapshot-50")
    step = msgspec.json.decode(progress(run))["best_step"]
    assert rows(best)["Weights"] == f"the best of the run by mean DSC on held-out cases, of step {step}"
    assert rows(half)["Weights"] == "as they were at 50 % of the budget"
    for text in (best, half):
        assert {name: rows(text)[name] for name in ("Training time", "Energy", "CPU", "spheres")} == {
            name: of_run[name] for name in ("Training time", "Energy", "CPU", "spheres")
        }
    # scores are those of the weights that are described
    told = next(row for row in reversed(read_log(run / LOG)) if "mean_dsc" in row and row["step"] == step)
    assert f"| mean | {told['mean_dsc']:.4f} |" in best
    assert "## Validation" not in half
    assert main(["average", str(run / "best"), str(run), "--to", str(tmp_path / "mean")]) == 0
    assert main(["card", str(tmp_path / "mean")]) == 0
    mean = rows((tmp_path / "mean" / "card.md").read_text())
    assert mean["Training time"] == mean["Weights"] == "not recorded with these weights"
    assert mean["Batch size"] == "2"
    # what was copied out of its run is weights alone
    shutil.copytree(run / "best", tmp_path / "elsewhere" / "best")
    assert rows(describe_run(tmp_path / "elsewhere" / "best"))["Weights"] == "not recorded with these weights"
    (tmp_path / "mean" / "weights.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"neither checkpoint.safetensors nor weights.safetensors in .*mean"):
        describe_run(tmp_path / "mean")


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
