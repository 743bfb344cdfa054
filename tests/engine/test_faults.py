"""Every call that can fail is made to fail: no output is ever partial, no other case is lost, and it is said."""

import re
from concurrent.futures import Future
from pathlib import Path

import attention_dmfnet as dmf
import msgspec
import numpy as np
import pytest
from attention_dmfnet.cli.main import main
from attention_dmfnet.cli.record import RECORD_NAME, read_record
from attention_dmfnet.cli.status import DONE, SOME_FAILED, UNUSABLE
from attention_dmfnet.files.image_io import read_volume, write_volume
from attention_dmfnet.model.loading import LoadingNetwork, Networks
from attention_dmfnet.model.manifest import Manifest
from attention_dmfnet.model.network import Network, Scores, Tile
from attention_dmfnet.model.runtimes import Runtime
from attention_dmfnet.segmenter import Segmenter

from tests.engine.faults import KINDS, Fault
from tests.engine.tiny import FakeNetwork, block_phantom, manifest_json, organ_hu

CASES = ("a", "b", "c")


def nearest(centres: list[float]) -> FakeNetwork:
    c = np.array(centres, dtype=np.float32)[:, None, None, None]

    def scores(tile: Tile) -> Scores:
        found: Scores = 2 * c * tile - c * c
        return found

    return FakeNetwork(scores)


def _ready(network: Network) -> LoadingNetwork:
    future: Future[Network] = Future()
    future.set_result(network)
    return LoadingNetwork(future)


def fake_networks(coarse: Network, fine: Network) -> Networks:
    runtime: Future[Runtime] = Future()
    runtime.set_result(Runtime("openvino", "cpu", 1))
    return Networks(_ready(coarse), _ready(fine), runtime, [], lambda why: None, lambda: fake_networks(coarse, fine))


def fake_segmenter() -> Segmenter:
    """The tiny models of ``tiny.write_models``, without a runtime."""
    organs = [organ_hu(label) / 100 for label in range(14)]
    networks = fake_networks(nearest([organs[0], organs[0] + 0.4]), nearest(organs))
    return Segmenter(msgspec.convert(manifest_json(), Manifest), networks)


@pytest.fixture
def scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "in").mkdir()
    for name in CASES:
        write_volume(block_phantom()[0], tmp_path / "in" / f"{name}.nii.gz")
    monkeypatch.setattr(dmf, "load", lambda **settings: fake_segmenter())
    return tmp_path / "in"


def _assert_whole(path: Path) -> None:
    np.testing.assert_array_equal(read_volume(path).array, block_phantom()[1].array)


@pytest.mark.parametrize("kind", KINDS)
def test_whichever_call_fails_each_output_is_whole_or_absent_and_the_rest_is_said(
    kind: str, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    set_up, error = KINDS[kind]
    faults = 0
    for nth in range(1, 1000):
        outputs = tmp_path / f"out{nth}"
        fault = Fault(nth, error)
        with monkeypatch.context() as patch:
            set_up(patch, tmp_path, fault)
            status = main(["predict", str(scans), str(outputs)])
        said = capfd.readouterr()
        lines = said.out.splitlines()
        written = {path.name for path in outputs.iterdir()} if outputs.exists() else set()
        # whole or absent, it can be read
        read_record(outputs / RECORD_NAME)
        written -= {RECORD_NAME}
        maps = {name for name in written if not name.startswith(".")}
        for name in maps:
            _assert_whole(outputs / name)
        failed = {line.split()[0] for line in lines if "  FAILED: " in line}
        assert status in (DONE, SOME_FAILED, UNUSABLE), (nth, said)
        if status == DONE:
            assert maps == {f"{name}.nii.gz" for name in CASES}, (nth, said)
        elif status == SOME_FAILED:
            # what is not there was named, one line for each case
            assert len(lines) == len(CASES), (nth, said)
            assert failed == {name for name in CASES if f"{name}.nii.gz" not in maps} != set(), (nth, said)
            assert all(line.split("FAILED: ")[1].strip() for line in lines if "FAILED" in line)
            # one fault costs one case
            assert len(failed) == 1, (nth, said)
        else:
            assert re.search(re.escape(str(tmp_path)), said.err), (nth, said)
        assert "Traceback" not in said.out, (nth, said)
        if not fault.struck:
            assert status == DONE
            break
        faults += 1
        if len(maps) == len(CASES) and written == maps:
            continue
        # the next run makes what is missing and leaves nothing else behind
        assert main(["predict", str(scans), str(outputs)]) == DONE
        assert {path.name for path in outputs.iterdir()} == {RECORD_NAME, *(f"{name}.nii.gz" for name in CASES)}, nth
        capfd.readouterr()
    assert faults > 0, "nothing of this kind is called"
    assert not fault.struck
