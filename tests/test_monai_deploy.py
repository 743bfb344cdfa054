"""The application of docs/monai-deploy.md: with the SDK where it is installed, else with a stand-in for its classes."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pydicom
import pytest
from attention_dmfnet.files.image_io import read_volume
from attention_dmfnet.geometry import canonicalise
from pydicom.dataset import Dataset

from tests.engine.dicom.made import write_series
from tests.engine.tiny import block_phantom, write_models

ROOT = Path(__file__).resolve().parents[1]
APP = ROOT / "docs" / "monai-deploy" / "app.py"

CORE = """
import argparse, os
class Application:
    def __init__(self):
        self.argv, self.operators = None, []
    @staticmethod
    def init_app_context(argv):
        parser = argparse.ArgumentParser()
        parser.add_argument("-i", dest="input_path", default=os.environ.get("HOLOSCAN_INPUT_PATH"))
        parser.add_argument("-o", dest="output_path", default=os.environ.get("HOLOSCAN_OUTPUT_PATH"))
        parser.add_argument("-m", dest="model_path", default="models")
        return parser.parse_args(argv)
    def add_operator(self, operator):
        self.operators.append(operator)
    def run(self):
        self.compose()
        for operator in self.operators:
            for _ in range(operator.conditions[0].count):
                operator.compute(None, operator.ports, None)
class Ports:
    def output(self, name):
        self.name = name
        return self
    def condition(self, kind):
        assert kind is ConditionType.NONE
    def emit(self, value, name):
        assert name == self.name
        assert all(one.status for one in value)
class Operator:
    def __init__(self, fragment, *conditions, name):
        self.conditions, self.ports = conditions, Ports()
        self.setup(self.ports)
class ConditionType:
    NONE = object()
"""
CONDITIONS = """
class CountCondition:
    def __init__(self, fragment, count):
        self.count = count
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where Python finds the SDK: nothing more than it has, or the stand-in."""
    ours = [str(ROOT), str(ROOT / "engine")]
    if find_spec("monai.deploy") is None:
        stand_in = tmp_path / "sdk" / "monai" / "deploy"
        stand_in.mkdir(parents=True)
        for folder in (stand_in, stand_in.parent):
            (folder / "__init__.py").write_text("")
        (stand_in / "core.py").write_text(CORE)
        (stand_in / "conditions.py").write_text(CONDITIONS)
        ours.insert(0, str(tmp_path / "sdk"))
    return os.pathsep.join(ours)


def _run(path: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(APP), *arguments],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_study_gets_a_label_map_and_a_seg(path: str, tmp_path: Path) -> None:
    def same_frame(image: Dataset, _: int) -> None:
        image.FrameOfReferenceUID = "1.5"

    ct, truth = block_phantom()
    models = write_models(tmp_path / "models")
    for name in ("a", "b"):
        write_series(ct, tmp_path / "in" / name, same_frame)
    done = _run(path, "-i", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-m", str(models))
    assert done.returncode == 0, done.stderr
    maps = sorted((tmp_path / "out").glob("*.nii.gz"))
    assert len(maps) == 2
    for one in maps:
        np.testing.assert_array_equal(canonicalise(read_volume(one)).array, truth.array)
        seg = pydicom.dcmread(one.with_name(one.name.replace(".nii.gz", ".seg.dcm")))
        assert len(seg.SegmentSequence) == 13


def test_a_folder_without_a_series_ends_it_with_a_reason(path: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    done = _run(path, "-i", str(tmp_path / "in"), "-o", str(tmp_path / "out"))
    assert done.returncode != 0
    assert f"no CT series to label in {tmp_path / 'in'}" in done.stderr
