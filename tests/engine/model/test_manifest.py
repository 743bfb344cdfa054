import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from attention_dmfnet.model.manifest import (
    KeepAll,
    KeepLargest,
    KeepParts,
    Manifest,
    ManifestError,
    SeenTogether,
    WeightsFile,
    load_manifest,
)

from tests.engine.tiny import manifest_json


def _load(folder: Path, content: dict[str, Any]) -> Manifest:
    (folder / "manifest.json").write_text(json.dumps(content))
    return load_manifest(folder)


def test_a_valid_manifest_is_read_as_written(tmp_path: Path) -> None:
    content = manifest_json()
    content["components"]["right kidney"] = {"keep": "parts", "min_fraction": 0.1}
    content["components"]["gallbladder"] = {"keep": "parts", "min_fraction": 0.1, "min_volume_ml": 0.5}
    content["components"]["aorta"] = {"keep": "all"}
    content["fine"]["weights"] = {"file": "fine.safetensors", "sha256": "c" * 64}
    manifest = _load(tmp_path, content)
    assert manifest.labels["left kidney"] == 13
    assert manifest.fine.tile_zyx == (8, 16, 16)
    assert manifest.components["liver"] == KeepLargest()
    assert manifest.components["right kidney"] == KeepParts(0.1)
    assert manifest.components["gallbladder"] == KeepParts(0.1, min_volume_ml=0.5)
    assert manifest.components["aorta"] == KeepAll()
    assert manifest.fine.weights == WeightsFile("fine.safetensors", "c" * 64)
    assert manifest.coarse.weights is None


def test_a_manifest_written_by_the_structures_is_read_back_the_same(tmp_path: Path) -> None:
    manifest = _load(tmp_path, manifest_json())
    (tmp_path / "manifest.json").write_bytes(msgspec.json.encode(manifest))
    assert load_manifest(tmp_path) == manifest


def test_one_file_may_serve_two_precisions(tmp_path: Path) -> None:
    content = manifest_json()
    content["fine"]["variants"] = [_variant(), _variant(precision="bfloat16")]
    assert [variant.precision for variant in _load(tmp_path, content).fine.variants] == ["float32", "bfloat16"]


def test_air_is_the_low_end_of_the_window_as_the_network_sees_it(tmp_path: Path) -> None:
    content = manifest_json()
    content["fine"] |= {"window_hu": [-200, 300], "mean_hu": 50, "std_hu": 125}
    assert _load(tmp_path, content).fine.air == -2


def _change(*path: str, to: Any) -> Any:
    def change(content: dict[str, Any]) -> None:
        for key in path[:-1]:
            content = content[int(key)] if isinstance(content, list) else content[key]
        if to is KeyError:
            del content[path[-1]]
        else:
            content[path[-1]] = to

    return change


def _variant(digit: str = "a", precision: str = "float32") -> dict[str, Any]:
    return {"file": "fine.onnx", "sha256": digit * 64, "precision": precision, "parity": None}


def _plan_for_fitted_tiles(content: dict[str, Any]) -> None:
    plan = {
        "runtime": "tensorrt",
        "version": "11.4.0",
        "gpu": "Quadro RTX 5000",
        "compute_capability": "7.5",
        "compatibility": "none",
        "onnx_sha256": "a" * 64,
    }
    content["fine"]["variants"].append({**_variant("b"), "file": "fine.plan", "plan": plan})
    content["fine"]["tile_multiple"] = 8


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (_change("colour", to="blue"), "unknown field `colour`"),
        (_change("fine", "speed", to=1), r"unknown field `speed` - at `\$.fine`"),
        (_change("release", to=KeyError), "missing required field `release`"),
        (_change("fine", "std_hu", to=KeyError), "missing required field `std_hu`"),
        (_change("fine", "tile_zyx", to=[64, 96]), r"at `\$.fine.tile_zyx`"),
        (_change("fine", "tile_zyx", to=[64, 96, 0]), r"at `\$.fine.tile_zyx"),
        (_change("fine", "overlap", to="a quarter"), r"at `\$.fine.overlap`"),
        (_change("fine", "overlap", to=1.0), r"at `\$.fine.overlap`"),
        (_change("fine", "spacing_zyx", to=[0, 1, 1]), r"at `\$.fine.spacing_zyx"),
        (_change("fine", "window_hu", to=[300, -200]), "from low to high"),
        (_change("fine", "std_hu", to=0), r"at `\$.fine.std_hu`"),
        (_change("fine", "input", "layout", to="NDHWC"), r"at `\$.fine.input.layout`"),
        (_change("fine", "input", "dtype", to="int16"), r"at `\$.fine.input.dtype`"),
        (_change("fine", "variants", to=[]), r"at `\$.fine.variants`"),
        (_change("fine", "variants", "0", "file", to="../fine.onnx"), r"at `\$.fine.variants\[0\].file`"),
        (_change("fine", "variants", "0", "sha256", to="abc"), r"at `\$.fine.variants\[0\].sha256`"),
        (_change("fine", "variants", "0", "precision", to="float8"), "precision"),
        (_change("fine", "variants", "0", "parity", to=[]), r"at `\$.fine.variants\[0\].parity`"),
        (_change("fine", "variants", "0", "parity", to=[{"backend": "torch"}]), "backend"),
        (_change("fine", "variants", "0", "plan", to={"runtime": "tensorrt"}), r"at `\$.fine.variants\[0\].plan`"),
        (_change("fine", "variants", to=[_variant(), _variant()]), "the same file in the same precision"),
        (_change("fine", "variants", to=[_variant(), _variant("b", "bfloat16")]), r"give fine\.onnx different sha256"),
        (_change("fine", "tile_multiple", to=16), "must be multiples of 16"),
        (_change("fine", "output", "stride", to=3), "multiples of the scores' stride, 3"),
        (_plan_for_fitted_tiles, "a plan holds for tile_zyx alone"),
        (_change("fine", "output", "classes", to=13), "do not make 13 classes"),
        (_change("coarse", "output", "classes", to=3), "2 classes"),
        (_change("labels", "liver", to=2), "without gaps"),
        (_change("labels", "liver", to=True), r"at `\$.labels"),
        (_change("components", "liver", "keep", to="some"), r"at `\$.components"),
        (_change("components", "liver", "min_fraction", to=0.5), "unknown field `min_fraction`"),
        (_change("components", "liver", to=KeyError), "see liver"),
        (_change("components", "tail", to={"keep": "all"}), "see tail"),
        (_change("roi_margin_mm", to=[10, 10, -1]), r"at `\$.roi_margin_mm"),
        (_change("measured", to=[]), "unknown field `measured`"),
        (_change("fine", "weights", to={"file": "fine.safetensors"}), "missing required field `sha256`"),
    ],
)
def test_what_is_unknown_missing_mistyped_or_contradictory_is_named(
    tmp_path: Path, change: Any, complaint: str
) -> None:
    content = manifest_json()
    change(content)
    with pytest.raises(ManifestError, match=complaint) as refusal:
        _load(tmp_path, content)
    assert "manifest.json" in str(refusal.value)


def test_a_manifest_of_another_schema_is_refused_for_that_reason_alone(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="schema version 1, this engine reads version 2"):
        _load(tmp_path, {"schema_version": 1, "anything": "else"})


def test_a_missing_manifest_says_where_it_should_be(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"no manifest at .*manifest\.json"):
        load_manifest(tmp_path)


def test_half_a_manifest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps(manifest_json())[:200])
    with pytest.raises(ManifestError, match="not valid"):
        load_manifest(tmp_path)


def test_organs_that_are_seen_together_are_organs_and_each_is_named_once(tmp_path: Path) -> None:
    content = manifest_json()
    assert _load(tmp_path, content).seen_together is None
    rule = {"organs": ["stomach"], "beside": ["liver", "spleen"], "min_volume_ml": 20}
    assert _load(tmp_path, content | {"seen_together": rule}).seen_together == SeenTogether(
        ("stomach",), ("liver", "spleen"), 20
    )
    for odd in ({"beside": ["liver", "stomach"]}, {"beside": ["heart"]}, {"organs": ["stomach", "stomach"]}):
        with pytest.raises(ManifestError, match="seen_together must name organs of labels, and each of them once"):
            _load(tmp_path, content | {"seen_together": rule | odd})
