"""docs/reliability.md: the numbers on it are those of the tests that there are."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "reliability.md").read_text()
TESTS = sorted(set(re.findall(r"`(tests/[\w/]+\.py)`", PAGE)) - {"tests/engine/faults.py"})

KINDS: dict[str, tuple[str, ...]] = {
    "headers, values, units, bodies": ("test_header_checks", "test_value_checks", "test_quality"),
    "damaged files, and readers that crash": ("test_nifti_voxels", "test_refusals", "test_read_apart"),
    "places in the patient": ("test_places",),
    "parts of an organ": ("test_components",),
    "faults, kills, memory, what hangs": ("test_faults", "test_kills", "test_memory_limits", "test_case_timeout"),
    "models that were tampered with, links": ("test_tampered", "test_security"),
    "names, folders, what is there already": (
        *("test_odd_names", "test_folder_run", "test_label_maps", "test_whole_file", "test_passed_over"),
        *("test_score_odd_names", "test_layout_odd_names"),
    ),
    "tables and sidecars of training": ("test_patients_table", "test_text_file"),
}
"""By the rows of the first table, the files whose tests are counted."""


@pytest.fixture(scope="module")
def counts() -> dict[str, int]:
    """How many tests each file has that the page names."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-qq", "-p", "no:cacheprovider", "-o", "addopts="]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'engine'}"}
    run = subprocess.run(
        [*command, "--import-mode=importlib", *TESTS],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-2000:]
    return {Path(name).stem: int(count) for name, count in re.findall(r"^(\S+\.py): (\d+)$", run.stdout, re.MULTILINE)}


def test_every_test_that_the_page_names_is_there() -> None:
    assert TESTS
    assert [name for name in TESTS if not (ROOT / name).is_file()] == []


def test_there_are_as_many_situations_as_the_page_says_and_at_least_a_hundred(counts: dict[str, int]) -> None:
    said = {kind: int(count) for kind, count in re.findall(r"^\| ([^|]+) \| (\d+) \| 0 \| 0 \|$", PAGE, re.MULTILINE)}
    assert set(said) == set(KINDS)
    for kind, files in KINDS.items():
        assert said[kind] <= sum(counts[name] for name in files), kind
    assert sum(said.values()) >= 100
