"""What `pip install "attention-dmfnet[cpu]"` brings is all that it takes, far from any clone and without a network."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
from attention_dmfnet.files.image_io import read_volume
from packaging.requirements import Requirement

from evaluation.accuracy.dice import dice
from evaluation.phantom import phantom_geometry, write_phantom

ROOT = Path(__file__).parents[2]
LIVER = 1


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that the clone stays as it is."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("engine", "models"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    _pip("wheel", "--no-build-isolation", "--no-deps", "--no-index", "-w", str(folder / "dist"), str(folder))
    (built,) = (folder / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and what its extra `cpu` asks for, taken from this one, and nothing else."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python3*/site-packages")
    _pip("--python", str(folder / "bin" / "python"), "install", "--no-deps", "--no-index", str(wheel))
    wanted = [Requirement(text) for text in importlib.metadata.PathDistribution(_info(site)).requires or []]
    _link([r.name for r in wanted if r.marker is None or r.marker.evaluate({"extra": "cpu"})], site)
    return folder


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _info(site: Path) -> Path:
    (info,) = site.glob("attention_dmfnet-*.dist-info")
    return info


def _link(names: list[str], site: Path) -> None:
    """Link the installed distributions ``names`` and all that they need into ``site``."""
    for name in names:
        distribution = importlib.metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files or [] if file.parts[0] not in ("..", "__pycache__")}:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(distribution.locate_file(top))))
        needs = [Requirement(text) for text in distribution.requires or []]
        _link([r.name for r in needs if r.marker is None or r.marker.evaluate({"extra": ""})], site)


def _run(environment: Path, folder: Path, *command: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    program = str(environment / "bin" / command[0])
    done = subprocess.run([program, *command[1:]], cwd=folder, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_wheel_holds_the_package_with_its_models_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    own = sorted(name for name in names if not name.partition("/")[0].endswith(".dist-info"))
    assert {name.partition("/")[0] for name in own} == {"attention_dmfnet"}
    models = {name.removeprefix("attention_dmfnet/models/") for name in own if "/models/" in name}
    assert models == {path.name for path in (ROOT / "models").iterdir() if not path.name.startswith(".")}
    assert {"manifest.json", "MODEL_CARD.md"} <= models
    code = {name.removeprefix("attention_dmfnet/") for name in own} - {f"models/{name}" for name in models}
    package = ROOT / "engine" / "attention_dmfnet"
    viewer = {str(path.relative_to(package)) for path in (package / "report" / "viewer").iterdir()}
    assert {"report/viewer/niivue.umd.js", "report/viewer/NIIVUE-LICENSE.txt"} <= viewer
    assert code == {str(path.relative_to(package)) for path in package.rglob("*.py")} | {"py.typed"} | viewer


def test_the_installed_command_labels_a_phantom(environment: Path, tmp_path: Path) -> None:
    image, reference = write_phantom(tmp_path, 1, phantom_geometry((60, 96, 96), (5.5, 4.0, 4.0)))
    out = _run(environment, tmp_path, "attention-dmfnet", "predict", "images", "out", "--device", "cpu")
    assert out.startswith("Phantom_0001  ")
    labels, truth = read_volume(tmp_path / "out" / "Phantom_0001.nii.gz"), read_volume(reference)
    assert labels.geometry == read_volume(image).geometry
    assert dice(labels.array == LIVER, truth.array == LIVER) > 0.8
    # and the three lines of Python do the same
    program = "import attention_dmfnet as dmf; segmenter = dmf.load(device='cpu')\n"
    program += "result = segmenter('images/Phantom_0001_0000.nii.gz'); result.save('again.nii.gz'); print(dmf.__file__)"
    found = _run(environment, tmp_path, "python", "-c", program)
    assert found.startswith(str(environment))
    np.testing.assert_array_equal(read_volume(tmp_path / "again.nii.gz").array, labels.array)
