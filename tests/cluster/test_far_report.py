"""``--report`` and ``--statistics`` of scans and label maps in a bucket are those of folders on one machine."""

import json
import re
from pathlib import Path

import pytest
from attention_dmfnet.cli.main import main as engine_main

from cluster.__main__ import main
from cluster.errors import ClusterError
from cluster.places import Place
from tests.cluster.conftest import write_scans
from tests.cluster.store import BUCKET, Store
from tests.engine.dicom.made import write_series
from tests.engine.tiny import block_phantom

URLS = {"in": f"s3://{BUCKET}/in", "out": f"s3://{BUCKET}/out"}


@pytest.fixture
def scans(tmp_path: Path, store: Store) -> Path:
    """A study of DICOM, a scan, and a file that is none; on this disk and in the bucket."""
    folder = write_scans(tmp_path / "in", ["a"])
    write_series(block_phantom()[0], folder / "patient" / "series")
    (folder / "bad.nii.gz").write_bytes(b"no scan")
    store.put(folder, "in")
    return folder


@pytest.fixture
def labelled(store: Store, tmp_path: Path, models: Path) -> Path:
    """Two scans and their label maps in the bucket, of a run that is over; its folder, where the ledger is."""
    store.put(write_scans(tmp_path / "in", ["a", "b"]), "in")
    assert far(tmp_path, models) == 0
    return tmp_path


def far(folder: Path, models: Path, *words: str, inputs: str = URLS["in"], outputs: str = URLS["out"]) -> int:
    own = ["--models", str(models), "--ledger", str(folder / "ledger.sqlite"), "--staging", str(folder / "staging")]
    return main(["predict", inputs, outputs, *own, *words])


def near(folder: Path, models: Path, *words: str) -> int:
    return engine_main(["predict", str(folder / "in"), str(folder / "solo"), "--models", str(models), *words])


def read(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def renamed(text: str, places: dict[str, str]) -> str:
    """With the names of ``places`` for their folders."""
    for folder, place in places.items():
        text = text.replace(folder, place)
    return text


def as_told(files: dict[str, bytes], places: dict[str, str]) -> dict[str, bytes]:
    """``renamed``, without seconds and what is of many machines alone."""
    files = {name: content for name, content in files.items() if not name.startswith(("run.json", "ledger.sqlite"))}
    for name in files:
        if not name.endswith(".nii.gz"):
            text = renamed(files[name].decode(), places)
            files[name] = re.sub(r'data-value="[0-9.]+">[0-9]+\.[0-9]</td>', "seconds", text).encode()
    return files


def notes(record: bytes, places: dict[str, str]) -> str:
    cases = json.loads(record)["cases"]
    return renamed(json.dumps([(case["case"], case["status"], case["notes"]) for case in cases]), places)


def lines(out: str, places: dict[str, str]) -> list[str]:
    """What was said of each case that was not labelled now, in any order."""
    said = renamed(out, places).splitlines()
    return sorted(line for line in said if "  skipped: " in line or "  FAILED: " in line)


def test_pages_and_tables_of_a_bucket_are_those_of_folders_at_first_and_again(
    store: Store, scans: Path, tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {str(scans): URLS["in"], str(tmp_path / "solo"): URLS["out"]}
    # what is measured again has no probability of the networks
    for words in (["--report"], ["--report", "--seg-nrrd"]):
        assert near(tmp_path, models, *words) == 1
        expected_lines = lines(capsys.readouterr().out, places)
        assert far(tmp_path, models, *words) == 1
        assert lines(capsys.readouterr().out, places) == expected_lines
        expected, made = read(tmp_path / "solo"), store.content("out")
        assert len([name for name in made if name.startswith("report/")]) == 2
        assert as_told(made, places) == as_told(expected, places)
        assert notes(made["run.json"], places) == notes(expected["run.json"], places)
    assert len(expected_lines) == 3
    assert "a.seg.nrrd, which is not there" in expected_lines[0]
    assert list((tmp_path / "staging").iterdir()) == []


@pytest.mark.parametrize("far_end", ["in", "out"])
def test_where_scans_or_label_maps_are_in_a_folder_tables_are_those_of_one_machine_with_and_without_a_record(
    far_end: str, store: Store, scans: Path, tmp_path: Path, models: Path
) -> None:
    outputs, words = tmp_path / "out", ["--statistics"]
    where = {"outputs": str(outputs)} if far_end == "in" else {"inputs": str(scans)}
    if far_end == "out":
        words.append("--no-record")
    for _ in range(2):
        assert near(tmp_path, models, *words) == 1
        assert far(tmp_path, models, *words, **where) == 1
        made = read(outputs) if far_end == "in" else store.content("out")
        assert as_told(made, {}) == as_told(read(tmp_path / "solo"), {})
    ours = {name for name in made if not name.endswith(".nii.gz") and not name.startswith("ledger.sqlite")}
    record = set() if far_end == "out" else {"run.json"}
    assert ours == {"statistics.csv", "statistics.json"} | record


def test_of_a_label_map_that_was_replaced_the_record_tells_nothing(store: Store, labelled: Path, models: Path) -> None:
    files = store.files()
    files.pipe_file(f"{BUCKET}/out/a.nii.gz", files.cat_file(f"{BUCKET}/out/b.nii.gz"))
    # another ledger, which knows neither of them
    (labelled / "ledger.sqlite").unlink()
    assert far(labelled, models, "--report") == 0
    index = store.content("out")["report.html"].decode()
    # seconds and ROI of either
    numbers = re.findall(r'<td class="number" data-value="([0-9.]*)">', index)
    assert [bool(number) for number in numbers] == [False, False, True, True]


def test_what_cannot_be_fetched_or_stored_is_told_and_counts(
    store: Store, labelled: Path, models: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put, fetch = Place.store, Place.fetch

    def refused(self: Place, file: Path, name: str) -> None:
        if name == "statistics.csv":
            raise ClusterError(f"cannot store {name}: Denied")
        put(self, file, name)

    def gone(self: Place, name: str, to: Path, size: int | None) -> None:
        if name == "a.nii.gz":
            raise ClusterError(f"cannot fetch {name}: Not Found")
        fetch(self, name, to, size)

    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(Place, "fetch", gone)
        assert far(labelled, models, "--statistics") == 1
    said = capsys.readouterr()
    assert "a  FAILED: cannot fetch a.nii.gz: Not Found" in said.out
    assert "b  skipped: " in said.out
    assert {row["case"] for row in json.loads(store.content("out")["statistics.json"])["cases"]} == {"b"}
    monkeypatch.setattr(Place, "store", refused)
    assert far(labelled, models, "--statistics") == 2
    assert "cannot keep the report: cannot store statistics.csv: Denied" in capsys.readouterr().err
