"""Scans and outputs at URLs: an S3 server that fails, and a bounded place on the worker's disk."""

import json
import os
import re
import signal
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from attention_dmfnet.cli.main import main as engine_main
from attention_dmfnet.geometry import Volume
from pydicom.dataset import Dataset

import cluster.places
import cluster.predict_command
from cluster.__main__ import main
from cluster.errors import ClusterError
from cluster.places import Place, place
from cluster.staging import Staging
from tests.cluster.conftest import write_scans
from tests.cluster.inline import InlineCrew
from tests.cluster.nodes import wait_until
from tests.cluster.store import BUCKET, Store
from tests.engine.dicom.made import write_enhanced, write_series
from tests.engine.tiny import block_phantom


def predict(folder: Path, models: Path, *words: str, inputs: str = "in") -> int:
    places = [f"s3://{BUCKET}/{inputs}", f"s3://{BUCKET}/out", "--models", str(models)]
    return main(["predict", *places, "--ledger", str(folder / "ledger.sqlite"), "--staging", str(folder), *words])


def solo(inputs: Path, folder: Path, models: Path) -> dict[str, bytes]:
    assert engine_main(["predict", str(inputs), str(folder / "solo"), "--models", str(models), "--no-record"]) == 0
    return {path.name: path.read_bytes() for path in (folder / "solo").iterdir()}


def test_a_bucket_is_labelled_into_a_bucket_while_a_tenth_of_its_requests_fails(
    store: Store, tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scans = write_scans(tmp_path / "in", [f"case_{n:02}" for n in range(12)])
    expected = solo(scans, tmp_path, models)
    store.put(scans, "in")
    store.failing, store.failed = 0.1, 0
    assert predict(tmp_path, models) == 0
    assert store.failed > 0
    store.failing = 0.0
    made = store.content("out")
    record = made.pop("run.json").decode()
    assert made == expected
    assert '"output": "case_00.nii.gz"' in record
    assert f"s3://{BUCKET}/out" in record
    assert '"sha256": null' not in record
    assert f'"inputs": "s3://{BUCKET}/in"' in record
    # nothing is left on the worker's disk, and nothing is done twice
    assert list(tmp_path.glob("attention-dmfnet-staging-*")) == []
    capsys.readouterr()
    before = store.requests["PUT"]
    assert predict(tmp_path, models) == 0
    out = capsys.readouterr().out
    assert out.count("skipped: s3://archive/out/case_") == 12
    assert store.requests["PUT"] - before <= 1  # the record


def test_a_stopped_run_leaves_its_record_in_the_bucket(
    store: Store, tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put(write_scans(tmp_path / "in", ["a", "b", "c"]), "in")
    give = InlineCrew.give

    def stopped(self: InlineCrew, worker: int, task: str) -> None:
        if task == "c":
            os.kill(os.getpid(), signal.SIGTERM)
        give(self, worker, task)

    monkeypatch.setattr(InlineCrew, "give", stopped)
    assert predict(tmp_path, models) == 130
    made = store.content("out")
    assert sorted(made) == ["a.nii.gz", "b.nii.gz", "run.json"]
    record = json.loads(made["run.json"])
    assert {case["case"] for case in record["cases"]} == {"a", "b"}
    assert (record["runs"][0]["exit_status"], record["runs"][0]["options"]["inputs"]) == (130, f"s3://{BUCKET}/in")
    assert list(tmp_path.glob("attention-dmfnet-staging-*")) == []


def test_a_record_that_cannot_be_stored_is_told_and_the_status_stays(
    store: Store, tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put(write_scans(tmp_path / "in", ["a"]), "in")
    put = Place.store

    def refused(self: Place, file: Path, name: str) -> None:
        if name == "run.json":
            raise ClusterError("cannot store run.json: Denied")
        put(self, file, name)

    monkeypatch.setattr(Place, "store", refused)
    assert predict(tmp_path, models) == 0
    assert "cannot store run.json: Denied; the label maps are there" in capsys.readouterr().err


def test_a_record_elsewhere_names_the_places_too(store: Store, tmp_path: Path, models: Path) -> None:
    store.put(write_scans(tmp_path / "in", ["a"]), "in")
    record = tmp_path / "record.json"
    assert predict(tmp_path, models, "--record", str(record)) == 0
    options = json.loads(record.read_text())["runs"][0]["options"]
    assert (options["inputs"], options["outputs"]) == (f"s3://{BUCKET}/in", f"s3://{BUCKET}/out")
    assert sorted(store.content("out")) == ["a.nii.gz"]
    # of scans at a URL whose label maps stay here
    words = [f"s3://{BUCKET}/in", str(tmp_path / "out"), "--models", str(models), "--staging", str(tmp_path)]
    assert main(["predict", *words]) == 0
    options = json.loads((tmp_path / "out" / "run.json").read_text())["runs"][0]["options"]
    assert options["inputs"] == f"s3://{BUCKET}/in"


def test_the_record_names_the_places_while_the_run_goes_on(
    store: Store, tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put(write_scans(tmp_path / "in", ["a", "b", "c"]), "in")
    give, there = InlineCrew.give, tmp_path / "out" / "run.json"
    seen = []

    def looked(self: InlineCrew, worker: int, task: str) -> None:
        seen.append(there.read_text() if there.exists() else "")
        give(self, worker, task)

    monkeypatch.setattr(InlineCrew, "give", looked)
    words = [f"s3://{BUCKET}/in", str(there.parent), "--models", str(models), "--staging", str(tmp_path / "staging")]
    assert main(["predict", *words]) == 0
    # the third case is given out when the first one has ended
    (run,) = json.loads(seen[-1])["runs"]
    assert (run["ended"], run["options"]["inputs"]) == (None, f"s3://{BUCKET}/in")
    assert str(Path(tempfile.gettempdir()) / "attention-dmfnet-") not in seen[-1]


def test_an_empty_scan_in_a_bucket_fails_by_its_name(
    store: Store, tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scans = write_scans(tmp_path / "in", ["a"])
    (scans / "empty.nii.gz").write_bytes(b"")
    store.put(scans, "in")
    assert predict(tmp_path, models) == 1
    said = capsys.readouterr()
    assert "empty  FAILED: " in said.out
    assert "1 of 2 cases failed: empty" in said.err


def test_the_outputs_are_listed_once(
    store: Store, tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put(write_scans(tmp_path / "in", ["a"]), "in")
    listed: list[str] = []
    sizes = Place.sizes

    def counted(self: Place) -> dict[str, int]:
        listed.append(self.url)
        return sizes(self)

    monkeypatch.setattr(Place, "sizes", counted)
    assert predict(tmp_path, models) == 0
    assert listed == [f"s3://{BUCKET}/in", f"s3://{BUCKET}/out"]


def test_a_tree_of_dicom_in_a_bucket_gives_what_it_gives_on_a_disk(store: Store, tmp_path: Path, models: Path) -> None:
    ct, _ = block_phantom()
    write_series(ct, tmp_path / "in" / "one" / "series")
    (tmp_path / "in" / "two").mkdir()
    write_enhanced(ct, tmp_path / "in" / "two" / "enhanced.dcm")
    expected = solo(tmp_path / "in", tmp_path, models)
    store.put(tmp_path / "in", "in")
    assert predict(tmp_path, models, "--no-record") == 0
    assert len(expected) == 2
    assert store.content("out") == expected


def test_a_volume_of_a_series_that_holds_two_is_the_same_one_from_a_bucket(
    store: Store, tmp_path: Path, models: Path
) -> None:
    ct, _ = block_phantom()
    for number, volume in enumerate((ct, Volume((ct.array + 50).astype(np.int16), ct.geometry))):

        def change(image: Dataset, k: int, number: int = number) -> None:
            image.AcquisitionNumber, image.InstanceNumber = number + 1, 1 + number * 100 + k

        write_series(volume, tmp_path / "in" / str(number), change, series_uid="1.2.3", study_uid="1.1")
    expected = solo(tmp_path / "in", tmp_path, models)
    assert len(expected) == 1
    store.put(tmp_path / "in", "in")
    assert predict(tmp_path, models, "--no-record") == 0
    assert store.content("out") == expected


@pytest.mark.parametrize(
    ("stored", "named"),
    [
        (["in/bad.nii.gz"], "in/bad.nii.gz"),
        (["in/bad.nii.gz/bad.nii.gz"], "in/bad.nii.gz/bad.nii.gz"),
        # a bucket may have both; what lies in the folder is what is listed
        (["in/bad.nii.gz", "in/bad.nii.gz/bad.nii.gz"], "in/bad.nii.gz/bad.nii.gz"),
    ],
    ids=["a file", "a folder", "both"],
)
def test_one_file_or_a_folder_of_its_name_and_what_is_wrong_are_told_by_url(
    stored: list[str], named: str, store: Store, tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in stored:
        store.files().pipe_file(f"{BUCKET}/{path}", b"another" if path != named else b"no scan")
    assert Place(f"s3://{BUCKET}/in/bad.nii.gz").url_of("bad.nii.gz") == f"s3://{BUCKET}/{named}"
    assert predict(tmp_path, models, inputs="in/bad.nii.gz") == 1
    said = capsys.readouterr().out
    assert said.startswith("bad  FAILED: ")
    assert str(tmp_path) not in said
    assert re.findall(rf"s3://{BUCKET}/[^ :;,]*nii\.gz", said) == [f"s3://{BUCKET}/{named}"]


def test_a_folder_called_like_its_scan_is_labelled(store: Store, tmp_path: Path, models: Path) -> None:
    scans = write_scans(tmp_path / "in", ["a"])
    expected = solo(scans, tmp_path, models)
    store.put(scans, "in/a_0000.nii.gz")
    assert predict(tmp_path, models, "--no-record", inputs="in/a_0000.nii.gz") == 0
    assert store.content("out") == expected


def test_outputs_that_are_a_file_are_refused_and_the_file_stays(
    store: Store, tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = write_scans(tmp_path / "in", ["a"]) / "a_0000.nii.gz"
    scan = scan.rename(scan.with_name("a.nii.gz"))
    store.put(scan.parent, "in")
    words = [f"s3://{BUCKET}/in/a.nii.gz"] * 2
    words += ["--models", str(models), "--ledger", str(tmp_path / "ledger.sqlite"), "--overwrite"]
    assert main(["predict", *words]) == 2
    assert f"s3://{BUCKET}/in/a.nii.gz is a file; choose a folder for outputs" in capsys.readouterr().err
    assert store.content("in") == {"a.nii.gz": scan.read_bytes()}


def test_a_store_that_does_not_answer_is_not_taken_for_a_folder(
    store: Store, tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.files().pipe_file(f"{BUCKET}/in/a.nii.gz", b"scan")
    monkeypatch.setattr(cluster.places, "_TRIES", 2)
    monkeypatch.setattr(store.files(), "retries", 1)
    there = Place(f"s3://{BUCKET}/in/a.nii.gz")
    store.failing = 1.0
    store.files().invalidate_cache()
    with pytest.raises(ClusterError, match=f"cannot list s3://{BUCKET}/in/a.nii.gz"):
        there.url_of("a.nii.gz")
    store.failing = 0.0
    assert there.url_of("a.nii.gz") == f"s3://{BUCKET}/in/a.nii.gz"


def test_what_the_engine_itself_says_names_the_place_and_no_folder_that_stands_for_it(
    store: Store, tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in = str(Path(tempfile.gettempdir()) / "attention-dmfnet-")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.mhd").write_text("no scan")
    store.put(tmp_path / "in", "in")
    assert predict(tmp_path, models) == 2
    said = capsys.readouterr()
    assert f"s3://{BUCKET}/in" in said.err
    assert stand_in not in said.out + said.err
    write_scans(tmp_path / "more", ["a"])
    store.put(tmp_path / "more", "in")
    assert predict(tmp_path, models, "--json") == 0
    said = capsys.readouterr()
    assert f"s3://{BUCKET}/in/notes.mhd is not read" in said.out
    assert stand_in not in said.out + said.err


def test_a_scan_beyond_the_staging_limit_fails_by_name(
    store: Store, tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "large.nii").write_bytes(bytes(2 << 20))
    store.put(tmp_path / "in", "in")
    assert predict(tmp_path, models, "--staging-mb", "1") == 1
    assert "large  FAILED: its 2 MB do not fit into the 1 MB of --staging-mb" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["s3://archive/in", "s3://archive/out"], "name a file on a disk of this machine with --ledger"),
        (["s3://archive/nothing", "OUT"], "no such file or folder: s3://archive/nothing"),
        (["s3://archive/in", "s3://archive/in", "--ledger", "L"], "would replace the scan itself"),
        (["nowhere://archive/in", "OUT"], "cannot use nowhere://archive/in"),
    ],
)
def test_places_that_cannot_be_used_are_refused_in_a_sentence(
    store: Store,
    tmp_path: Path,
    models: Path,
    words: list[str],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.nii.gz").write_bytes(b"scan")
    store.put(tmp_path / "in", "in")
    assert main(["predict", *words, "--models", str(models)]) == 2
    assert sentence in capsys.readouterr().err


def test_a_file_is_stored_whole_or_not_at_all(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(bytes(1000))
    store.failing = 1.0
    monkeypatch.setattr(cluster.places, "_TRIES", 2)
    # s3fs has tries of its own
    monkeypatch.setattr(store.files(), "retries", 1)
    there = Place(f"s3://{BUCKET}/out")
    with pytest.raises(ClusterError, match=f"cannot store s3://{BUCKET}/out/a.nii.gz"):
        there.store(tmp_path / "a", "a.nii.gz")
    store.failing = 0.0
    assert store.content("out") == {}


def test_a_store_that_copies_in_place_gets_a_hidden_file_first(tmp_path: Path) -> None:
    import fsspec

    (tmp_path / "a").write_bytes(b"labels")
    Place("memory://out").store(tmp_path / "a", "a.nii.gz")
    assert fsspec.filesystem("memory").find("/out") == ["/out/a.nii.gz"]


def test_two_that_store_the_same_write_to_files_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    (tmp_path / "a").write_bytes(b"labels")
    put, used = MemoryFileSystem.put_file, []

    def noted(self: MemoryFileSystem, file: str, to: str, **named: object) -> None:
        used.append(to)
        if len(used) == 1:
            # another worker stores the same meanwhile
            Place("memory://both").store(tmp_path / "a", "a.nii.gz")
        put(self, file, to, **named)

    monkeypatch.setattr(MemoryFileSystem, "put_file", noted)
    Place("memory://both").store(tmp_path / "a", "a.nii.gz")
    assert len(set(used)) == 2
    assert MemoryFileSystem().find("/both") == ["/both/a.nii.gz"]


def test_what_is_a_url_and_what_a_path() -> None:
    assert place("scans/a.nii.gz") == Path("scans/a.nii.gz")
    assert place("file:///scans") == Path("/scans")
    assert place("s3://archive/scans/") == Place("s3://archive/scans")


def test_staging_never_holds_more_than_it_may(tmp_path: Path) -> None:
    staging = Staging(tmp_path, 100)
    entered: list[int] = []
    release = threading.Event()

    def stage(size: int) -> None:
        with staging.room(size):
            entered.append(size)
            release.wait(600)

    threads = [threading.Thread(target=stage, args=(60,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_until(lambda: entered)
    # the other one has the time to make the mistake
    threads[0].join(0.3)
    assert entered == [60]
    release.set()
    for thread in threads:
        thread.join(600)
    assert entered == [60, 60]
    with pytest.raises(ClusterError, match="do not fit"), staging.room(101):
        pass
    staging.close()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_worker_staged_is_removed_and_what_a_living_one_has_stays(tmp_path: Path) -> None:
    left = tmp_path / "attention-dmfnet-staging-left"
    left.mkdir()
    (left / "scan.nii.gz").write_bytes(b"scan")
    living = Staging(tmp_path, 100)
    Staging(tmp_path, 100).close()
    assert list(tmp_path.iterdir()) == [living.folder]
    living.close()
