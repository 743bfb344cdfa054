from pathlib import Path

import msgspec
import pytest
import torch

from export.publish import publish
from export.release import build_release
from training.learning.checkpoint import build_network, save_trained
from training.network.attention_dmfnet import AttentionDMFNet
from training.recipe import Recipe

TILES_ZYX = {"coarse": (16, 32, 16), "fine": (16, 16, 32)}


def tiny_recipe(stage: str) -> Recipe:
    """A recipe with all that export reads, for the smallest network that has every kind of layer."""
    return msgspec.convert(
        {
            "stage": stage,
            "network": {"classes": 2 if stage == "coarse" else 14, "stem": 4, "width": 8, "groups": 2},
            "grid": {"spacing_zyx": [6, 5, 4], "tile_zyx": TILES_ZYX[stage], "overlap": 0.125},
            "intensity": {"window_hu": [-160, 240], "mean_hu": 40, "std_hu": 25},
            "sampling": {},
            "augmentation": {},
            "loss": {},
            "optimiser": {"name": "sgd", "learning_rate": 0.1},
            "schedule": {"shape": "constant"},
            "run": {"epochs": 1, "batch": 1, "steps_per_epoch": 1},
        },
        Recipe,
    )


def make_run(folder: Path, stage: str) -> Path:
    """A run folder of a network with random weights and, as after training, statistics other than 0 and 1."""
    recipe = tiny_recipe(stage)
    torch.manual_seed(1 if stage == "coarse" else 2)
    network = build_network(recipe)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("running_mean"):
                tensor.normal_(0, 0.1)
            elif name.endswith("running_var"):
                tensor.uniform_(0.5, 2.0)
            elif tensor.ndim == 1 and tensor.is_floating_point():
                tensor.add_(torch.empty_like(tensor).uniform_(-0.2, 0.2))
        _balance(network.eval())
    save_trained(folder, network, recipe)
    return folder


def _balance(network: AttentionDMFNet) -> None:
    """Give each class scores of mean 0 and deviation 1 in a tile, so that none wins everywhere."""
    lumps = torch.randn(1, 1, 8, 8, 16) * 6
    for axis in (2, 3, 4):
        lumps = lumps.repeat_interleave(2, axis)
    scores = network(lumps)
    mean, deviation = scores.mean((0, 2, 3, 4)), scores.std((0, 2, 3, 4))
    assert network.head.bias is not None
    network.head.bias.sub_(mean).div_(deviation)
    network.head.weight.div_(deviation[:, None, None, None, None])


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folders of a coarse and a fine run."""
    folder = tmp_path_factory.mktemp("runs")
    return make_run(folder / "coarse", "coarse"), make_run(folder / "fine", "fine")


@pytest.fixture(scope="session")
def exported(runs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both runs, exported and published; to be read only."""
    folder = tmp_path_factory.mktemp("exported") / "models"
    publish(build_release(*runs, "1.2.3"), folder)
    return folder
