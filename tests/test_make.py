"""Every target of the Makefile, run in a copy of the clone that is made of links and has a small ``.venv``.

Not run for real: ``setup``, ``audit`` and ``sbom`` (they ask a package index or a container engine),
``container-test``, ``kills`` and ``cluster-soak`` (they are tests themselves), of which only the recipe is looked at;
and the tools behind ``check`` and ``test``, which are what runs this file: here they are stand-ins that note how they
are called. ``bench`` has a stand-in for the peers.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from attention_dmfnet.files.image_io import read_volume, write_volume
from attention_dmfnet.geometry import Volume

from tests.engine.tiny import block_phantom
from tests.export.conftest import make_run

ROOT = Path(__file__).resolve().parent.parent
LINKS = ["Makefile", "pyproject.toml", "constraints.txt", "predict.sh"]
LINKS += ["engine", "evaluation", "training", "export", "cluster"]
TARGETS = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)

# the peers' interpreter: makes no model, and "labels" by copying the scan; as long as it takes to be watched
FAKE_PEER = """#!/bin/sh
if [ "$2" = predict ]; then
  sleep 2
  for scan in "$4"/*; do cp "$scan" "$5/$(basename "$scan" | sed s/_0000//)"; done
fi
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Links to what ``make`` reads; what it writes stays here. ``.venv`` runs the interpreter of the tests."""
    folder = tmp_path / "clone"
    binaries = folder / ".venv" / "bin"
    binaries.mkdir(parents=True)
    (folder / "docs").mkdir()
    for name in LINKS:
        (folder / name).symlink_to(ROOT / name)
    program(binaries / "python", f'exec "{sys.executable}" "$@"')
    for stamp in (".dev", ".demo"):
        (folder / ".venv" / stamp).touch()
    return folder


def program(path: Path, text: str) -> None:
    path.write_text(text if text.startswith("#!") else f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def make(clone: Path, *words: str) -> str:
    """What ``make`` prints, where it ends well."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'engine'}"}
    # a `make test` that runs this test must not hand its own options on
    for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL"):
        environment.pop(name, None)
    done = subprocess.run(["make", *words], cwd=clone, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """Noise in lumps, of which networks of random weights make lumps of several organs."""
    phantom, _ = block_phantom((25, 48, 48))
    lumps = np.random.default_rng(0).normal(40, 150, (5, 6, 6))
    noise = np.kron(lumps, np.ones((5, 8, 8))).astype(np.int16)
    write_volume(Volume(noise, phantom.geometry), tmp_path / "mine_0000.nii.gz")
    return tmp_path / "mine_0000.nii.gz"


def test_help_lists_every_target(clone: Path) -> None:
    assert re.findall(r"^  make ([a-z-]+) ", make(clone), re.MULTILINE) == TARGETS
    assert make(clone, "help") == make(clone)


def test_setup_installs_with_the_exact_versions(clone: Path) -> None:
    (clone / ".venv" / ".dev").unlink()
    recipe = make(clone, "-n", "setup")
    extras = "cpu,dicom,report,training,export,evaluation,cluster,dev"
    assert re.search(rf"-m pip install .*-c constraints\.txt -e '\.\[{extras}\]'", recipe)
    # and OpenVINO's graphs are made by the version that was installed
    assert recipe.index("-m pip install") < recipe.index("-m attention_dmfnet.model.openvino_graphs models")


def test_demo_labels_an_own_scan_and_draws_it(clone: Path, scan: Path) -> None:
    make(clone, "demo", f"CT={scan}")
    assert (clone / "demo_output" / "mine.png").read_bytes().startswith(b"\x89PNG")
    labels = read_volume(clone / "demo_output" / "predictions" / "mine.nii.gz")
    assert labels.geometry.matches(read_volume(scan).geometry)


@pytest.mark.parametrize("target", ["check", "test"])
def test_check_asks_every_tool_and_test_the_tests_too(clone: Path, target: str) -> None:
    tools = ["ruff", "mypy", "lint-imports", "hadolint", "shellcheck", "python"]
    for tool in tools:
        program(clone / ".venv" / "bin" / tool, f'echo "{tool} $*" >>asked')
        assert shutil.which(tool, path=str(Path(sys.executable).parent)), f"{tool} is not in the environment"
    make(clone, target)
    asked = [line.split() for line in (clone / "asked").read_text().splitlines()]
    assert {words[0] for words in asked} == set(tools) - ({"python"} if target == "check" else set())
    assert ["ruff", "format", "--check", "."] in asked
    # for the tests of where networks are placed, beside the environment: both builds are one module
    gpu = ["--no-deps", "--target", ".cache/onnxruntime-gpu/site", "onnxruntime-gpu"]
    installed = [words[-4:] for words in asked if words[:3] == ["python", "-m", "pip"]]
    assert installed == ([gpu] if target == "test" else [])
    suites = [command for command in asked if command[:3] == ["python", "-m", "pytest"]]
    # every test in one process or the other
    first = ["tests/engine", "tests/evaluation", "tests/export"]
    halves = [first, [f"--ignore={folder}" for folder in first]]
    assert [command[3:] for command in suites] == (halves if target == "test" else [])
    scripts = {word for words in asked if words[0] == "shellcheck" for word in words if "/" in word or ".sh" in word}
    assert scripts >= {"predict.sh", "evaluation/peers/install.sh", "tests/container/run.sh", ".ci/run"}


def test_format_lays_out_the_code(clone: Path) -> None:
    (clone / "mine.py").write_text("import sys\nimport os\nprint( os, sys )\n")
    program(clone / ".venv" / "bin" / "ruff", f'exec "{Path(sys.executable).parent}/ruff" "$@"')
    make(clone, "format")
    assert (clone / "mine.py").read_text() == "import os\nimport sys\n\nprint(os, sys)\n"


def test_container_test_runs_the_script(clone: Path) -> None:
    assert make(clone, "-n", "container-test").strip() == "bash tests/container/run.sh"


@pytest.mark.parametrize(
    ("words", "recipe"),
    [
        (("fuzz", "MINUTES=30"), "-m tests.fuzz --minutes 30"),
        (("cluster-soak", "CASES=9"), ".venv/bin/python -m tests.cluster.soak --cases 9"),
        (("kills", "KILLS=9"), "KILLS=9 .venv/bin/python -m pytest tests/engine/test_kills.py"),
        # --strict: where PyPI cannot be asked, nothing was found out, and that is no success
        (("audit",), "pip-audit --strict --disable-pip --no-deps --requirement constraints.txt"),
        (("sbom", "IMAGE=mine"), ".ci/sbom mine sbom.json"),
    ],
)
def test_what_looks_for_faults_is_called_as_it_should_be(clone: Path, words: tuple[str, ...], recipe: str) -> None:
    assert recipe in make(clone, "-n", *words)


def test_fuzz_reads_mutants(clone: Path) -> None:
    (clone / "tests").symlink_to(ROOT / "tests")
    assert re.search(r"[1-9]\d* mutants .* 0 findings", make(clone, "fuzz", "MINUTES=0.002"))


def test_export_makes_models_of_two_runs_and_compares_them_with_torch(clone: Path, scan: Path, tmp_path: Path) -> None:
    text = (ROOT / "Makefile").read_text()
    variable = re.search(r"^(\w+) := \S+/coarse\S* \S+/fine", text, re.MULTILINE)
    assert variable
    # the release that is replaced, with its card and figures
    for folder in set(re.findall(r"--(?:card|measured) (\w+)/", text)):
        shutil.copytree(ROOT / folder, clone / folder)
    runs = [make_run(tmp_path / stage, stage) for stage in ("coarse", "fine")]
    make(clone, "export", f"{variable[1]}={runs[0]} {runs[1]}", f"REAL_SCANS={scan}")
    assert {"coarse.onnx", "fine.onnx", "manifest.json", "MODEL_CARD.md"} <= {
        path.name for path in (clone / "models").iterdir()
    }
    assert "Against PyTorch" in (clone / "docs" / "parity.md").read_text()


def test_bench_compares_ours_with_the_peers(clone: Path, scan: Path, tmp_path: Path) -> None:
    peers = tmp_path / "peers"
    (peers / "bin").mkdir(parents=True)
    program(peers / "bin" / "python", FAKE_PEER)
    (peers / ".ready").touch()
    page = make(clone, "bench", f"PEERS={peers}", f"CT={scan}", "RUNS=1")
    rows = [line.split("|")[2].strip() for line in page.splitlines() if line.startswith("| mine |")]
    assert rows[0] == "attention-dmfnet"
    assert [row.partition(" ")[0] for row in rows[1:]] == ["nnU-Net", "nnU-Net", "MONAI"]
    assert (clone / "bench_output" / "bench.md").read_text() in page + "\n"


def test_bench_makes_the_peers_environment_with_the_projects_python(clone: Path) -> None:
    assert "PYTHON=python9 sh evaluation/peers/install.sh .cache/peers-venv" in make(
        clone, "-n", "bench", "PYTHON=python9"
    )


def test_clean_removes_what_the_commands_made(clone: Path) -> None:
    (clone / "demo_output").mkdir()
    make(clone, "clean")
    assert sorted(path.name for path in clone.iterdir()) == sorted([*LINKS, "docs"])
