import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from attention_dmfnet.files import whole_file
from attention_dmfnet.files.whole_file import ABANDONED_AFTER_S, remove_leftovers, replacing

LEFT = ".attention-dmfnet-0123456789abcdef.partial.nii.gz"


def test_the_file_appears_whole_when_the_block_is_left(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with replacing(tmp_path / "a", ".nii") as partial:
        partial.write_text("new")
        assert (tmp_path / "a").read_text() == "old"
        assert partial.name.endswith(".nii")
    assert (tmp_path / "a").read_text() == "new"
    assert os.listdir(tmp_path) == ["a"]


def test_a_block_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")

    def interrupted() -> None:
        with replacing(tmp_path / "a", "") as partial:
            partial.write_text("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (tmp_path / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_stop_waits_until_the_file_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """It comes between the making of the partial file and the first instruction after."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    made = whole_file._new_partial

    def made_and_told_to_stop(folder: Path, extension: str) -> tuple[Path, int]:
        result = made(folder, extension)
        signal.raise_signal(number)
        return result

    monkeypatch.setattr(whole_file, "_new_partial", made_and_told_to_stop)
    before = signal.signal(number, stop)

    def write() -> None:
        with replacing(tmp_path / "a", "") as partial:
            partial.write_text("new")

    try:
        with pytest.raises(KeyboardInterrupt):
            write()
        assert signal.getsignal(number) is stop
    finally:
        signal.signal(number, before)
    assert (tmp_path / "a").read_text() == "new"
    assert os.listdir(tmp_path) == ["a"]


def test_two_of_one_process_number_write_the_same_file_at_once(tmp_path: Path) -> None:
    # as two containers do: to both, their engine is process 1
    with replacing(tmp_path / "a", "") as one, replacing(tmp_path / "a", "") as other:
        one.write_text("one")
        other.write_text("other")
        assert one.read_text() == "one"
    assert (tmp_path / "a").read_text() == "one"
    assert os.listdir(tmp_path) == ["a"]


def test_a_name_that_is_taken_is_not_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = iter(["0123456789abcdef", "fedcba9876543210"])
    monkeypatch.setattr("secrets.token_hex", lambda size: next(tokens))
    (tmp_path / LEFT).write_text("another's")
    with replacing(tmp_path / "a", ".nii.gz"):
        assert (tmp_path / LEFT).read_text() == "another's"


def test_what_a_killed_run_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom attention_dmfnet.files.whole_file import replacing\n"
        "with replacing(Path(sys.argv[1]) / 'b.nii.gz', '.nii.gz'):\n    print('begun', flush=True)\n    time.sleep(99)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == b"begun\n"
        (partial,) = os.listdir(tmp_path)
        for name in ("a.nii.gz", ".hidden.partial.nii.gz", ".attention-dmfnet-1.partial.nii.gz"):
            (tmp_path / name).touch()
        (tmp_path / LEFT).mkdir()
        remove_leftovers(tmp_path)
        assert partial in os.listdir(tmp_path)  # it is being written
        run.kill()
    remove_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(
        ["a.nii.gz", ".hidden.partial.nii.gz", ".attention-dmfnet-1.partial.nii.gz", LEFT]
    )


def test_a_link_with_a_partial_files_name_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("whole")
    (tmp_path / LEFT).symlink_to(tmp_path / "a")
    remove_leftovers(tmp_path)
    assert (tmp_path / "a").read_text() == "whole"


def test_without_locks_age_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    (tmp_path / LEFT).touch()
    remove_leftovers(tmp_path)
    assert os.listdir(tmp_path) == [LEFT]
    long_ago_s = time.time() - ABANDONED_AFTER_S - 1
    os.utime(tmp_path / LEFT, (long_ago_s, long_ago_s))
    remove_leftovers(tmp_path)
    assert os.listdir(tmp_path) == []
    with replacing(tmp_path / "a", "") as partial:
        partial.write_text("whole")
    assert (tmp_path / "a").read_text() == "whole"


def test_a_file_that_was_taken_for_a_leftover_before_its_lock_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = whole_file._locked
    taken: list[Path] = []

    def after_another_run(descriptor: int) -> bool | None:
        if not taken:
            (partial,) = tmp_path.iterdir()
            taken.append(partial)
            partial.unlink()
        return lock(descriptor)

    monkeypatch.setattr(whole_file, "_locked", after_another_run)
    with replacing(tmp_path / "a", "") as partial:
        assert partial.exists()
        assert partial not in taken
