"""Systems to be measured: Python one-liners that cost a known amount, called fakes; and runs made up by hand."""

import sys
from pathlib import Path
from typing import Any

from evaluation.cost.cold_start import CaseRun
from evaluation.cost.process_tree import TreeCost
from evaluation.cost.sampler import Sample
from evaluation.cost.system import System
from evaluation.cost.trace import Trace

# `label()` writes what every system has to leave: a file for each scan
_PREAMBLE = """
import json, os, subprocess, sys, time
from pathlib import Path
inputs, outputs = map(Path, sys.argv[-2:])
def label():
    for scan in inputs.iterdir():
        (outputs / scan.name.replace("_0000.nii.gz", ".nii.gz")).write_bytes(b"labels")
def burn(cpu_s):
    while time.process_time() < cpu_s:
        pass
"""


def fake_system(code: str = "label()", name: str = "fake") -> System:
    return System(name, (sys.executable, "-c", _PREAMBLE + code, "{inputs}", "{outputs}"))


def fake_scan(folder: Path, name: str = "case_0000.nii.gz") -> Path:
    """Not an image: what measures does not look into it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"scan")
    return folder / name


def sample(time_s: float, **values: float | None) -> Sample:
    """A sample of an idle machine without a GPU, but for ``values``."""
    settings: dict[str, Any] = {
        "user_s": 0.0,
        "system_s": 0.0,
        "idle_s": 0.0,
        "busy_s": 0.0,
        "ram_mib": 1000.0,
        "gpu_mib": None,
    }
    return Sample(time_s=time_s, **(settings | values))


def run_of(
    samples: list[Sample],
    wall_s: float = 1.0,
    case: str = "case",
    system: str = "fake",
    tree: TreeCost | None = None,
    failure: str | None = None,
    trace: Trace | None = None,
) -> CaseRun:
    """A run that began with the second sample."""
    start_s = samples[1].time_s
    return CaseRun(case, system, start_s, start_s + wall_s, failure, tuple(samples), tree, (), trace)


def tree_of(cpu_s: float = 1.0, peak_mib: float = 100.0) -> TreeCost:
    return TreeCost(cpu_s, peak_mib, peak_mib, peak_mib, peak_mib)
