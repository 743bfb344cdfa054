"""What SECURITY.md promises of the runtime."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from attention_dmfnet.cli.main import main
from attention_dmfnet.cli.status import DONE
from attention_dmfnet.files.image_io import read_volume, write_labels, write_volume

from tests.engine.tiny import block_phantom

ENGINE = Path(__file__).parents[2] / "engine" / "attention_dmfnet"
FORBIDDEN_MODULES = {
    "pickle",
    "cPickle",
    "dill",
    "joblib",
    "marshal",
    "shelve",
    "subprocess",
    "pty",
    "socket",
    "ssl",
    "http",
    "urllib",
    "ftplib",
    "smtplib",
    "requests",
    "httpx",
    "asyncio",
    "multiprocessing",
    "xmlrpc",
}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "system", "popen", "fork", "execv", "spawnv", "load_module"}


def _trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(ENGINE.rglob("*.py")):
        yield path, ast.parse(path.read_text())


ALLOWED = {("apart.py", "subprocess"), ("run_report.py", "urllib.parse")}
"""ITK's reader of NRRD and MetaImage: this Python and a script of ours, never a shell. And quoting names in links."""


def test_the_runtime_imports_nothing_that_unpickles_runs_commands_or_talks_to_a_network() -> None:
    found = set()
    for path, tree in _trees():
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            found |= {(path.name, name) for name in names if name.partition(".")[0] in FORBIDDEN_MODULES}
    assert found == ALLOWED


def test_the_runtime_evaluates_no_text_and_loads_no_pickled_arrays() -> None:
    for path, tree in _trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
                builtin = isinstance(node.func, ast.Name) or name not in ("compile", "exec", "eval")
                assert not (name in FORBIDDEN_CALLS and builtin), f"{path.name}:{node.lineno} calls {name}"
                assert "allow_pickle" not in {keyword.arg for keyword in node.keywords}, path.name


def test_a_run_opens_no_socket_and_starts_no_process(tmp_path: Path, models: Path) -> None:
    """Python tells an audit hook of each; what C libraries do on their own account it does not see."""
    write_volume(block_phantom()[0], tmp_path / "a.nii.gz")
    code = (
        "import os, sys\n"
        "def watch(event, given):\n"
        "    if event.startswith(('socket.', 'subprocess.', 'os.system', 'os.exec', 'os.fork', 'pickle.')):\n"
        "        os.write(2, f'AUDIT {event}\\n'.encode())\n"
        "sys.addaudithook(watch)\n"
        "from attention_dmfnet.cli.main import main\n"
        f"status = main(['predict', {str(tmp_path / 'a.nii.gz')!r}, {str(tmp_path / 'out')!r}, "
        f"'--models', {str(models)!r}, '--device', 'cpu'])\n"
        "os._exit(status)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == DONE, run.stderr
    assert "AUDIT" not in run.stderr


@pytest.mark.parametrize("there", ["a file", "nothing"])
def test_an_output_that_is_a_link_out_of_the_folder_is_replaced_and_not_followed(tmp_path: Path, there: str) -> None:
    (tmp_path / "out").mkdir()
    victim = tmp_path / "victim.nii.gz"
    if there == "a file":
        victim.write_bytes(b"precious")
    (tmp_path / "out" / "a.nii.gz").symlink_to(victim)
    labels = block_phantom()[1]
    write_labels(labels, tmp_path / "out" / "a.nii.gz")
    assert not (tmp_path / "out" / "a.nii.gz").is_symlink()
    np.testing.assert_array_equal(read_volume(tmp_path / "out" / "a.nii.gz").array, labels.array)
    assert (victim.read_bytes() if there == "a file" else not victim.exists()) in (b"precious", True)


def test_a_whole_run_leaves_alone_what_a_link_among_the_outputs_points_to(tmp_path: Path, models: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    write_volume(block_phantom()[0], tmp_path / "in" / "a.nii.gz")
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "out" / "a.nii.gz").symlink_to(tmp_path / "victim")
    arguments = ["predict", str(tmp_path / "in"), str(tmp_path / "out"), "--models", str(models), "--overwrite"]
    assert main([*arguments, "--device", "cpu"]) == DONE
    assert (tmp_path / "victim").read_bytes() == b"precious"
    assert [os.path.islink(path) for path in (tmp_path / "out").iterdir()] == [False, False]
    np.testing.assert_array_equal(read_volume(tmp_path / "out" / "a.nii.gz").array, block_phantom()[1].array)
