"""The peers' scripts run in an environment of their own. What can be run of them without it is run here."""

import importlib.metadata
import json
import math
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from attention_dmfnet.files.image_io import read_volume, write_volume

from evaluation.cost.bench import PEERS
from tests.engine.tiny import block_phantom, stage_json

MONAI_SCRIPT = PEERS / "monai_inferer.py"

RUN_WITHOUT = """
import importlib.abc, runpy, sys
foreign = set(sys.argv.pop(1).split(","))
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in foreign:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Refuse())
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def requirements() -> list[str]:
    lines = (PEERS / "requirements.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def normalised(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def not_the_peers() -> set[str]:
    """The modules of this environment that the peers' environment would not have, the project's own among them."""
    theirs = {normalised(line.partition("==")[0]) for line in requirements()}
    modules = importlib.metadata.packages_distributions()
    foreign = {module for module, names in modules.items() if not theirs & {normalised(name) for name in names}}
    # another package may bring a folder called training, too; ours is what the network needs
    return (foreign - {"training"}) | {"attention_dmfnet", "evaluation", "export"}


def run_without(modules: set[str], *arguments: object) -> subprocess.CompletedProcess[str]:
    """The MONAI script where ``modules`` cannot be imported and no PYTHONPATH helps."""
    command = [sys.executable, "-I", "-c", RUN_WITHOUT, ",".join(sorted(modules)), str(MONAI_SCRIPT)]
    return subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """A manifest whose fine stage has a tile of 16 voxels a side."""
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({"fine": stage_json("fine.onnx", b"", 14, (6.0, 4.0, 4.0), (16, 16, 16))}))
    return path


def test_our_network_needs_nothing_but_what_the_peers_environment_has(tmp_path: Path, manifest: Path) -> None:
    done = run_without(not_the_peers(), "prepare", tmp_path / "model", "--manifest", manifest)
    assert done.returncode == 0, done.stderr
    assert re.search(r"Attention DMFNet with \d\.\d\d M random parameters", done.stdout)
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["stage.json", "weights.pt"]


def test_an_environment_without_a_package_of_the_network_is_told_what_to_do(tmp_path: Path) -> None:
    done = run_without({"numba"}, "prepare", tmp_path / "model")
    assert done.returncode == 1
    assert "No module named 'numba'; make the peers' environment again with install.sh" in done.stderr


def test_the_script_labels_a_scan_on_the_scans_own_grid(tmp_path: Path, manifest: Path) -> None:
    """Random weights call everything background; what counts is that the whole way from file to file is run."""
    pytest.importorskip("nibabel", reason="MONAI reads NIfTI with nibabel, which only the peers' environment has")
    ct, _ = block_phantom()
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    write_volume(ct, tmp_path / "in" / "A_0000.nii.gz")
    for arguments in (
        ["prepare", tmp_path / "model", "--manifest", manifest],
        ["predict", tmp_path / "model", tmp_path / "in", tmp_path / "out"],
    ):
        command = [sys.executable, str(MONAI_SCRIPT), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    labels = read_volume(tmp_path / "out" / "A.nii.gz")
    assert labels.geometry.matches(ct.geometry, 1e-3)
    assert np.count_nonzero(labels.array) == 0


@pytest.mark.parametrize("script", ["nnunet.py", "monai_inferer.py"])
def test_a_script_explains_itself_without_its_libraries(script: str) -> None:
    done = subprocess.run([sys.executable, PEERS / script, "--help"], capture_output=True, text=True, check=True)
    assert "prepare" in done.stdout
    assert "predict" in done.stdout


@pytest.mark.parametrize("recipe", ["flare22-winner", "flare24-laptop"])
def test_nnunet_prepares_the_published_network(tmp_path: Path, recipe: str) -> None:
    pytest.importorskip("nnunetv2", reason="only the peers' environment has nnU-Net")
    command = [sys.executable, str(PEERS / "nnunet.py"), "prepare", str(tmp_path / "model"), "--recipe", recipe]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_laptop_recipe_runs_a_network_through_openvino(tmp_path: Path) -> None:
    """A convolution of one voxel, 2 x + 1: nnU-Net would take it for its own network."""
    openvino = pytest.importorskip("openvino")
    torch = pytest.importorskip("torch")
    convolution = torch.nn.Conv3d(1, 1, 1)
    torch.nn.init.constant_(convolution.weight, 2.0)
    torch.nn.init.constant_(convolution.bias, 1.0)
    shape = [1, 1, 4, 8, 8]
    converted = openvino.convert_model(convolution.eval(), example_input=torch.zeros(1, 1, 2, 2, 2), input=shape)
    script = runpy.run_path(str(PEERS / "nnunet.py"))
    openvino.save_model(converted, tmp_path / script["OPENVINO_FILE"])
    network = script["_through_openvino"](tmp_path / script["OPENVINO_FILE"])
    # what nnU-Net does with a network before each case
    network.load_state_dict({})
    network.to(torch.device("cpu")).eval()
    with torch.inference_mode():
        scores = network(torch.full(shape, 3.0))
    # bfloat16 where the CPU has it: these numbers are whole in it
    assert scores.shape == torch.Size(shape)
    assert set(scores.flatten().tolist()) == {7.0}


def test_the_laptop_recipe_is_the_published_one() -> None:
    recipe = runpy.run_path(str(PEERS / "nnunet.py"))["RECIPES"]["flare24-laptop"]
    assert recipe.spacing_zyx == (2.5, 2.5, 2.5)
    assert recipe.patch_zyx == (40, 224, 192)
    assert recipe.openvino
    # one stage more than halvings, and as many features
    assert len(recipe.features) == len(recipe.strides) == 6
    for side, strides in zip(recipe.patch_zyx, zip(*recipe.strides, strict=True), strict=True):
        assert side % math.prod(strides) == 0


def test_the_environment_is_exact_and_torch_comes_first() -> None:
    lines = requirements()
    assert lines[0] == "torch==2.13.0"
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line) for line in lines)
    assert {line.partition("==")[0] for line in lines} >= {"nnunetv2", "monai", "openvino"}
