import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from attention_dmfnet.files.image_io import write_volume

from tests.engine.tiny import block_phantom

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of predict.sh in a project whose python prints its arguments, its module path and nothing else."""
    folder = tmp_path / "the project"
    folder.mkdir()
    shutil.copy(ROOT / "predict.sh", folder)
    return folder


def _fake_python(path: Path, name: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\necho {name}\necho "$PYTHONPATH"\nfor a in "$@"; do echo "[$a]"; done\nexit 7\n')
    path.chmod(0o755)
    return path


def _sh(project: Path, *arguments: str, path: str = os.environ["PATH"], cwd: Path = ROOT) -> list[str]:
    command = ["sh", str(project / "predict.sh"), *arguments]
    environment = {**os.environ, "PATH": path}
    environment.pop("PYTHONPATH", None)
    result = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 7, result.stderr  # whatever python's status is, it is the script's
    return result.stdout.splitlines()


ENGINE = ["[-P]", "[-m]", "[engine]", "[predict]"]
DEFAULTS = ["[/workspace/inputs]", "[/workspace/outputs]"]


@pytest.mark.parametrize(
    ("arguments", "passed_on"),
    [
        ([], DEFAULTS),
        (["in"], ["[in]", "[/workspace/outputs]"]),
        (["in", "out"], ["[in]", "[out]"]),
        (["my in", "my out"], ["[my in]", "[my out]"]),
        (["--device", "cpu"], [*DEFAULTS, "[--device]", "[cpu]"]),
        (["in", "out", "--json", "--models", "a b"], ["[in]", "[out]", "[--json]", "[--models]", "[a b]"]),
        (["in", "--overwrite"], ["[in]", "[/workspace/outputs]", "[--overwrite]"]),
    ],
)
def test_folders_and_options_are_passed_on(project: Path, arguments: list[str], passed_on: list[str]) -> None:
    _fake_python(project / ".venv/bin/python", "venv")
    assert _sh(project, *arguments) == ["venv", str(project), *ENGINE, *passed_on]


def test_without_a_venv_beside_it_python3_is_used(project: Path, tmp_path: Path) -> None:
    _fake_python(tmp_path / "bin" / "python3", "system")
    assert _sh(project, path=f"{tmp_path / 'bin'}:{os.environ['PATH']}")[0] == "system"


def test_it_works_from_any_folder_and_through_a_relative_path(project: Path) -> None:
    _fake_python(project / ".venv/bin/python", "venv")
    result = subprocess.run(
        ["sh", "the project/predict.sh", "in", "out"], cwd=project.parent, capture_output=True, text=True, check=False
    )
    assert result.stdout.splitlines()[1].startswith(str(project))


def test_a_scan_is_labelled_by_the_real_script_even_beside_another_engine(tmp_path: Path, models: Path) -> None:
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "__init__.py").write_text("raise RuntimeError('somebody else')")
    (tmp_path / "in").mkdir()
    write_volume(block_phantom()[0], tmp_path / "in" / "a_0000.nii.gz")
    # the interpreter of the tests stands first, for a project whose .venv is elsewhere
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    result = subprocess.run(
        ["sh", str(ROOT / "predict.sh"), "in", "out", "--models", str(models)],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "a.nii.gz").exists()
