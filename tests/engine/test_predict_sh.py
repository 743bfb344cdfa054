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


def _run(project: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["/bin/sh", str(project / "predict.sh"), *arguments]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def _sh(project: Path, *arguments: str, **environment: str) -> list[str]:
    result = _run(project, *arguments, **environment)
    assert result.returncode == 7, result.stderr  # whatever python's status is, it is the script's
    return result.stdout.splitlines()


ENGINE = ["[-m]", "[attention_dmfnet]", "[predict]"]
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
    folders, options = passed_on[:2], passed_on[2:]
    # before the caller's options, so that --record FILE overrules it
    expected = [*ENGINE, *folders, "[--no-record]", *options]
    assert _sh(project, *arguments) == ["venv", str(project / "engine"), *expected]


def test_without_a_venv_beside_it_python3_is_used(project: Path, tmp_path: Path) -> None:
    _fake_python(tmp_path / "bin" / "python3", "system")
    assert _sh(project, PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}")[0] == "system"


def test_it_works_from_any_folder_and_through_a_relative_path(project: Path) -> None:
    _fake_python(project / ".venv/bin/python", "venv")
    result = subprocess.run(
        ["sh", "the project/predict.sh", "in", "out"], cwd=project.parent, capture_output=True, text=True, check=False
    )
    assert result.stdout.splitlines()[1].startswith(str(project))


def test_the_callers_own_python_settings_do_not_count(project: Path) -> None:
    script = project / ".venv/bin/python"
    _fake_python(script, "venv")
    script.write_text('#!/bin/sh\necho "$PYTHONPATH|${PYTHONHOME-none}|$PYTHONNOUSERSITE|$PYTHONSAFEPATH"\nexit 7\n')
    assert _sh(project, PYTHONPATH="/theirs", PYTHONHOME="/theirs") == [f"{project / 'engine'}|none|1|1"]


def test_without_a_python_that_starts_one_sentence_says_what_to_type(project: Path, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "dirname").symlink_to(shutil.which("dirname") or "")
    none = _run(project, PATH=str(tools))
    assert (none.returncode, none.stderr.count("\n")) == (2, 1)
    assert f"type: make -C '{project}' setup" in none.stderr
    (project / ".venv/bin").mkdir(parents=True)
    (project / ".venv/bin/python").symlink_to("/python/that/was/removed")
    broken = _run(project)
    assert (broken.returncode, broken.stderr.count("\n")) == (2, 1)
    assert "clean setup" in broken.stderr


def test_without_its_packages_one_sentence_says_what_to_type(project: Path, tmp_path: Path) -> None:
    (project / "engine").symlink_to(ROOT / "engine")
    (tmp_path / "bin").mkdir()
    bare = tmp_path / "bin" / "python3"
    bare.write_text(f'#!/bin/sh\nexec "{sys._base_executable}" -S "$@"\n')  # type: ignore[attr-defined]
    bare.chmod(0o755)
    (tmp_path / "in").mkdir()
    write_volume(block_phantom()[0], tmp_path / "in" / "a.nii.gz")
    found = _run(project, str(tmp_path / "in"), str(tmp_path / "out"), PATH=f"{bare.parent}:{os.environ['PATH']}")
    assert (found.returncode, found.stderr.count("\n")) == (2, 1), found.stderr
    assert "make setup" in found.stderr
    assert 'pip install "attention-dmfnet[cpu]"' in found.stderr


def test_a_clone_by_a_git_that_converts_line_ends_has_a_script_that_sh_takes(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    for name in ("predict.sh", ".gitattributes"):
        shutil.copy(ROOT / name, first)
    (first / "network.onnx").write_bytes(b"no text\n")

    def git(*arguments: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "core.autocrlf=true", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, capture_output=True, check=True)

    git("init", "-q", str(first))
    git("-C", str(first), "add", ".")
    git("-C", str(first), "commit", "-q", "-m", "all")
    git("clone", "-q", str(first), str(second))
    assert b"\r" not in (second / "predict.sh").read_bytes()
    assert (second / "network.onnx").read_bytes() == b"no text\n"


def test_a_scan_is_labelled_by_the_real_script_even_beside_another_engine(tmp_path: Path, models: Path) -> None:
    (tmp_path / "attention_dmfnet").mkdir()
    (tmp_path / "attention_dmfnet" / "__init__.py").write_text("raise RuntimeError('somebody else')")
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
