"""A reader, a network or a disk that hangs costs its own case: it fails by name, and the others go on."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import attention_dmfnet as dmf
import numpy as np
import pytest
from attention_dmfnet import segmenter, threads
from attention_dmfnet.cli.main import main
from attention_dmfnet.cli.status import SOME_FAILED
from attention_dmfnet.files import image_io, read_ahead
from attention_dmfnet.files.cases import ScanFile
from attention_dmfnet.files.image_io import read_scan, read_volume, write_labels, write_volume
from attention_dmfnet.folder import predict
from attention_dmfnet.geometry import Volume
from attention_dmfnet.model.network import Scores, Tile
from attention_dmfnet.notes import Note
from attention_dmfnet.segmenter import Segmenter
from attention_dmfnet.threads import run_aside

from tests.engine.test_faults import fake_networks, fake_segmenter, nearest
from tests.engine.tiny import FakeNetwork, block_phantom, organ_hu

# long enough for a phantom on a very busy machine, short enough to wait for
TIMEOUT_S = 15.0


@pytest.fixture
def scans(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{name}.nii.gz" for name in ("a", "hangs", "z")]
    for path in paths:
        write_volume(block_phantom()[0], path)
    return paths


@pytest.fixture
def never() -> Iterator[threading.Event]:
    """An event that nobody sets while a test runs; afterwards what waits for it may go."""
    event = threading.Event()
    yield event
    event.set()


def _assert_the_others_are_whole(outputs: Path) -> None:
    assert sorted(path.name for path in outputs.iterdir()) == ["a.nii.gz", "z.nii.gz"]
    for path in outputs.iterdir():
        np.testing.assert_array_equal(read_volume(path).array, block_phantom()[1].array)


def test_a_reader_that_hangs_fails_its_case_and_the_others_are_labelled(
    scans: list[Path], tmp_path: Path, never: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(path: Path, notes: list[Note], strict: bool) -> Volume:
        if path.name.startswith("hangs"):
            never.wait()
        return read_scan(path, notes, strict)

    monkeypatch.setattr(image_io, "read_scan", read)
    (tmp_path / "out").mkdir()
    reports = list(predict(list(map(ScanFile, scans)), tmp_path / "out", fake_segmenter(), case_timeout_s=TIMEOUT_S))
    assert [report.status for report in reports] == ["done", "failed", "done"]
    assert reports[1].error == f"{scans[1]}: reading took longer than the {TIMEOUT_S:g} s of --case-timeout"
    _assert_the_others_are_whole(tmp_path / "out")


def test_a_network_that_hangs_fails_its_case_and_is_loaded_again_for_the_others(
    scans: list[Path], tmp_path: Path, never: threading.Event
) -> None:
    organs = [organ_hu(label) / 100 for label in range(14)]
    fine = nearest(organs)
    calls: list[int] = []
    stuck_at = 0

    def hang(tile: Tile) -> Scores:
        calls.append(1)
        if len(calls) == stuck_at:
            never.wait()
        return fine.function(tile)

    networks = fake_networks(nearest([organs[0], organs[0] + 0.4]), FakeNetwork(hang))
    # how many tiles a scan has: the second scan's first one is to hang
    manifest = fake_segmenter().manifest
    Segmenter(manifest, networks)(scans[0])
    stuck_at = len(calls) + 1
    calls.clear()
    (tmp_path / "out").mkdir()
    cases, hanging = list(map(ScanFile, scans)), Segmenter(manifest, networks)
    reports = list(predict(cases, tmp_path / "out", hanging, case_timeout_s=TIMEOUT_S))
    assert [report.status for report in reports] == ["done", "failed", "done"]
    assert reports[1].error == f"{scans[1]}: the networks took longer than the {TIMEOUT_S:g} s of --case-timeout"
    _assert_the_others_are_whole(tmp_path / "out")


def test_a_disk_that_takes_nothing_more_fails_the_case_that_is_being_written(
    scans: list[Path], tmp_path: Path, never: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(labels: Volume, path: Path, organs: Mapping[str, int]) -> None:
        if path.name.startswith("hangs"):
            never.wait()
        write_labels(labels, path, organs)

    monkeypatch.setattr(segmenter, "write_labels", write)
    (tmp_path / "out").mkdir()
    reports = list(predict(list(map(ScanFile, scans)), tmp_path / "out", fake_segmenter(), case_timeout_s=TIMEOUT_S))
    assert [report.status for report in reports] == ["done", "failed", "done"]
    assert "labels and writing took longer" in (reports[1].error or "")
    _assert_the_others_are_whole(tmp_path / "out")


def test_the_last_case_may_hang_and_the_command_ends_with_the_right_status(
    scans: list[Path],
    tmp_path: Path,
    never: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def read(path: Path, notes: list[Note], strict: bool) -> Volume:
        if path.name.startswith("z"):
            never.wait()
        return read_scan(path, notes, strict)

    monkeypatch.setattr(image_io, "read_scan", read)
    monkeypatch.setattr(dmf, "load", lambda **settings: fake_segmenter())
    assert main(["predict", str(tmp_path), str(tmp_path / "out"), "--case-timeout", str(TIMEOUT_S)]) == SOME_FAILED
    assert "1 of 3 cases failed: z" in capfd.readouterr().err


def test_a_pipe_under_a_scans_name_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.nii.gz")
    reports = list(predict([ScanFile(tmp_path / "pipe.nii.gz")], tmp_path, fake_segmenter(), case_timeout_s=600))
    assert [report.status for report in reports] == ["failed"]
    assert "pipe.nii.gz" in (reports[0].error or "")
    assert "longer" not in (reports[0].error or "")


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "soon", "inf"])
def test_a_limit_that_is_no_time_is_refused(seconds: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as exit_status:
        main(["predict", str(tmp_path), str(tmp_path), "--case-timeout", seconds])
    assert exit_status.value.code == 2


def test_a_time_out_that_the_disk_itself_reports_is_the_disks() -> None:
    def read() -> None:
        raise TimeoutError(110, "Connection timed out")

    with pytest.raises(TimeoutError, match="Connection timed out"):
        read_ahead.result_within(run_aside("reader", read), "reading", 0.0, None)


def test_where_no_thread_can_be_started_the_work_is_done_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(function: Callable[[], None], given: tuple[()]) -> int:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads, "start_new_thread", start)
    assert run_aside("reader", lambda: 7).result() == 7


def test_a_thread_that_ends_before_it_has_begun_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by a limit on memory: ``threading.Thread.start`` waits for ever for a thread that got no memory."""
    late: list[Callable[[], None]] = []

    def start(function: Callable[[], None], given: tuple[()]) -> int:
        late.append(function)
        return 0

    monkeypatch.setattr(threads, "start_new_thread", start)
    monkeypatch.setattr(threads, "BEGINS_WITHIN_S", 0.01)
    calls: list[int] = []
    assert run_aside("reader", lambda: calls.append(1) or len(calls)).result() == 1  # type: ignore[func-returns-value]
    # one that was only slow finds nothing to do
    late[0]()
    assert calls == [1]


def test_a_process_with_a_thread_that_is_stuck_can_end() -> None:
    code = "import threading; from attention_dmfnet.threads import run_aside; run_aside('x', threading.Event().wait)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=600)
