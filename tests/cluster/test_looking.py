"""Label maps that no row of a ledger tells of are kept where they are whole, and made again where they are not."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from attention_dmfnet.files.image_io import write_volume
from attention_dmfnet.geometry import Volume

import cluster.looking
from cluster.__main__ import main
from cluster.errors import ClusterError
from cluster.places import Place
from tests.cluster.conftest import write_scans
from tests.cluster.store import BUCKET, Store
from tests.engine.dicom.made import write_series
from tests.engine.tiny import block_phantom

URLS = {"in": f"s3://{BUCKET}/in", "out": f"s3://{BUCKET}/out"}


def predict(folder: Path, models: Path, inputs: str, outputs: str) -> int:
    """With a new ledger, which knows of nothing."""
    ledger = folder / "ledger.sqlite"
    ledger.unlink(missing_ok=True)
    words = ["--models", str(models), "--ledger", str(ledger), "--staging", str(folder / "staging"), "--json"]
    return main(["predict", inputs, outputs, "--no-record", *words])


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What was said of each case, by its name."""
    return {said["case"]: said for said in map(json.loads, capsys.readouterr().out.splitlines())}


def on_another_grid(folder: Path) -> bytes:
    _, labels = block_phantom()
    path = folder / "other.nii.gz"
    write_volume(Volume(labels.array, replace(labels.geometry, spacing_zyx=(9.0, 9.0, 9.0))), path)
    return path.read_bytes()


@pytest.mark.parametrize("far", [("in", "out"), ("out",), ("in",)], ids=" and ".join)
def test_what_is_broken_or_on_another_grid_is_made_again_with_a_note_and_what_is_whole_stays(
    far: tuple[str, ...],
    store: Store,
    tmp_path: Path,
    models: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scans, out = write_scans(tmp_path / "in", ["a", "b", "c"]), tmp_path / "out"
    for name in ("d.nii", "e.nrrd"):
        write_volume(block_phantom()[0], scans / name)
    store.put(scans, "in")
    places = {name: URLS[name] if name in far else str(tmp_path / name) for name in ("in", "out")}
    assert predict(tmp_path, models, places["in"], places["out"]) == 0

    def content() -> dict[str, bytes]:
        return store.content("out") if "out" in far else {path.name: path.read_bytes() for path in out.iterdir()}

    before = content()
    assert len(before) == 5
    broken = {"a.nii.gz": before["a.nii.gz"][:-40], "b.nii.gz": on_another_grid(tmp_path)}
    for name, label_map in broken.items():
        if "out" in far:
            store.files().pipe_file(f"{BUCKET}/out/{name}", label_map)
        else:
            (out / name).write_bytes(label_map)
    capsys.readouterr()
    fetched, fetch = [], Place.fetch

    def noted(self: Place, name: str, to: Path, size: int | None) -> None:
        fetched.append(name)
        fetch(self, name, to, size)

    monkeypatch.setattr(Place, "fetch", noted)
    monkeypatch.setattr(cluster.looking, "_HEADER_BYTES", 1000)
    assert predict(tmp_path, models, places["in"], places["out"]) == 0
    said = told(capsys)
    assert {name: one["status"] for name, one in said.items()} == {
        **dict.fromkeys("ab", "done"),
        **dict.fromkeys("cde", "skipped"),
    }
    notes = {name: said[name]["notes"][0] for name in "ab"}
    assert {note["code"] for note in notes.values()} == {"made-again"}
    assert f"{places['out']}/a.nii.gz" in notes["a"]["text"]
    assert f"{places['out']}/b.nii.gz is on another grid than its scan" in notes["b"]["text"]
    assert str(tmp_path / "staging") not in json.dumps(said)
    assert content() == before
    # of the scans only those that are labelled again, and nothing is left of either
    label_maps = sorted(before) if "out" in far else []
    assert sorted(fetched) == sorted([*label_maps, *(["a_0000.nii.gz", "b_0000.nii.gz"] if "in" in far else [])])
    assert list((tmp_path / "staging").iterdir()) == []


def test_a_study_in_a_bucket_is_compared_by_its_headers(
    store: Store, tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_series(block_phantom()[0], tmp_path / "in" / "patient" / "series")
    store.put(tmp_path / "in", "in")
    assert predict(tmp_path, models, URLS["in"], URLS["out"]) == 0
    before = store.content("out")
    (name,) = before
    capsys.readouterr()
    assert predict(tmp_path, models, URLS["in"], URLS["out"]) == 0
    assert [one["status"] for one in told(capsys).values()] == ["skipped"]
    store.files().pipe_file(f"{BUCKET}/out/{name}", on_another_grid(tmp_path))
    assert predict(tmp_path, models, URLS["in"], URLS["out"]) == 0
    assert [(one["status"], one["notes"][0]["code"]) for one in told(capsys).values()] == [("done", "made-again")]
    assert store.content("out") == before


def test_a_label_map_that_cannot_be_fetched_ends_the_run_and_is_not_made_again(
    store: Store,
    tmp_path: Path,
    models: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store.put(write_scans(tmp_path / "in", ["a"]), "in")
    assert predict(tmp_path, models, URLS["in"], URLS["out"]) == 0
    before = store.requests["PUT"]

    def denied(self: Place, name: str, to: Path, size: int | None) -> None:
        raise ClusterError(f"cannot fetch {self.url_of(name)}: Forbidden")

    monkeypatch.setattr(Place, "fetch", denied)
    assert predict(tmp_path, models, URLS["in"], URLS["out"]) == 2
    assert "cannot fetch s3://archive/out/a.nii.gz: Forbidden" in capsys.readouterr().err
    assert store.requests["PUT"] == before
