"""From raw folders to labels by ``predict.sh``, by ``python -m training run`` and so by each step's own command.

Phantoms of coarse voxels and networks of a few thousand weights; what is proven is that the parts fit together and
that what comes out at the end has learned something, not how good the method is.
"""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from attention_dmfnet.files.image_io import read_volume, write_labels, write_volume

from evaluation.accuracy.dice import dice_by_organ
from evaluation.phantom import make_phantom, phantom_geometry
from export.__main__ import main as export
from tests.training.small_patients import add_labelled
from training.__main__ import main as training
from training.data.dataset import open_dataset
from training.data.pseudo_folder import read_pseudo
from training.learning.run_files import WEIGHTS
from training.paper.carry_out import carry_out
from training.paper.processes import Ended
from training.paper.steps import Protocol

ROOT = Path(__file__).resolve().parents[3]

LARGE = ("liver", "right kidney", "spleen", "left kidney")
FLOOR = 0.3
"""DSC over the large organs of a patient whom nobody has seen. From 0.4996 to 0.84 was reached: networks as small as
these follow the order of sums, which differs between machines and with what else runs. Untrained ones reach nothing."""

RECIPE = """
[network]
stem = 8
width = 16
groups = 4

[grid]
overlap = 0.25

[intensity]
window_hu = [-200, 300]
mean_hu = 50
std_hu = 150

[sampling]
pseudo_share = 0.4

[augmentation]
spatial_probability = 0
elastic_probability = 0

[loss]

[optimiser]
name = "adamw"
learning_rate = 5e-3
clip_norm = 5

[schedule]
shape = "cosine"
warm_up_steps = 10
freeze_norm_at = 0.7
recalibrate_samples = 16

[run]
epochs = 22
batch = 2
steps_per_epoch = 12
ema = 0.95

[coarse.network]
classes = 2
# as the shipped coarse network: half the convolutions to train once and to export three times
units = [1, 2]

[coarse.grid]
spacing_zyx = [10, 8, 8]
tile_zyx = [32, 48, 48]

[coarse.run]
epochs = 10

[fine.network]
classes = 14

[fine.grid]
spacing_zyx = [6, 6, 6]
tile_zyx = [32, 32, 48]

[fine.loss]
class_weights = [0.5, 1, 1, 1, 2, 1.5, 2, 5, 5, 2, 4, 1, 2, 1]
"""


@dataclass(frozen=True)
class Chain:
    """Where everything is, and the commands that were run: `prepare`, `fit`, `onnx`, `pseudo-label`, ..."""

    folder: Path
    commands: list[str]

    def run(self, commands: Sequence[Sequence[str]], at_once: int) -> list[Ended]:
        """The commands, in this process."""
        ended = []
        for package, *arguments in commands:
            self.commands.append(arguments[0])
            ended.append(Ended((training if package == "training" else export)(arguments), 1.0))
        return ended

    def predict(self, models: str) -> dict[str, float]:
        """DSC by organ of ``predict.sh`` on the patient whom nobody has seen."""
        output = self.folder / f"predicted by {models}"
        command = ["sh", str(ROOT / "predict.sh"), str(self.folder / "test"), str(output)]
        subprocess.run([*command, "--models", str(self.folder / "all" / models), "--device", "cpu"], check=True)
        predicted, truth = read_volume(output / "Test.nii.gz"), read_volume(self.folder / "truth.nii.gz")
        assert predicted.geometry == truth.geometry
        return dice_by_organ(predicted.array, truth.array)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """The whole way: two teachers, who label together, and a student."""
    chain = Chain(tmp_path_factory.mktemp("chain"), [])
    folder = chain.folder
    write_raw(folder)
    (folder / "recipe.toml").write_text(RECIPE)
    # a teacher this small is never as sure as a real one
    (folder / "selection.toml").write_text("min_organs = 4\n[min_probability]\nall = 0.5\n[min_agreement]\nall = 0.5\n")
    protocol = Protocol(
        str(folder / "recipe.toml"),
        (folder / "raw",),
        folder / "all",
        folds=2,
        selection=folder / "selection.toml",
        fit_how=("--accelerator", "cpu"),
        label_how=("--device", "cpu"),
        workers=("--workers", "1"),
    )
    carry_out(protocol, "as typed", chain.run)
    return chain


def write_raw(folder: Path) -> None:
    """Four labelled and three unlabelled patients in FLARE22's layout, and one to be tested on."""
    geometry = phantom_geometry((56, 72, 96), (6.0, 6.0, 5.0))
    for seed in range(1, 5):
        add_labelled(folder / "raw", f"FLARE22_Tr_{seed:04d}", *make_phantom(geometry, seed))
    for name in ("raw/unlabeled", "test"):
        (folder / name).mkdir()
    for seed in range(5, 8):
        write_volume(make_phantom(geometry, seed)[0], folder / "raw" / "unlabeled" / f"Case_{seed:05d}_0000.nii.gz")
    ct, truth = make_phantom(geometry, 8)
    write_volume(ct, folder / "test" / "Test_0000.nii.gz")
    write_labels(truth, folder / "truth.nii.gz")


def test_the_teachers_label_unlabelled_scans_and_the_student_learns_from_them(chain: Chain) -> None:
    to = chain.folder / "all"
    kept = [decision for decision in read_pseudo(to / "pseudo").cases if decision.kept]
    assert kept
    taught = [case for case in open_dataset(to / "student-data", "fine").cases if case.is_pseudo]
    assert [case.name for case in taught] == [decision.name for decision in kept]
    weights = {(to / run / WEIGHTS).read_bytes() for run in ("teacher-0", "teacher-1", "student")}
    assert len(weights) == 3
    assert chain.commands == [
        *("prepare", "fit", "fit", "fit", "onnx", "onnx", "pseudo-label"),
        *("prepare", "fit", "onnx", "parity", "card"),
    ]
    assert "12 steps done" in (to / "status.md").read_text()


@pytest.mark.parametrize("models", ["teacher-0-models", "models"])
def test_predict_finds_the_large_organs_of_a_patient_whom_nobody_has_seen(chain: Chain, models: str) -> None:
    dsc = chain.predict(models)
    assert sum(dsc[organ] for organ in LARGE) / len(LARGE) > FLOOR, dsc
