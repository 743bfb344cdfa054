import json
import shutil
import zlib
from pathlib import Path

import pytest
import safetensors.torch
import torch
from attention_dmfnet.model.manifest import KeepAll, KeepHighest, KeepLargest, KeepParts, load_manifest

from evaluation.organs import ORGANS
from export.errors import ExportError
from export.figures import Accuracy, read_figures
from export.publish import read_release
from export.release import COMPONENT_RULES, SEEN_TOGETHER, build_release
from export.weights import half_precision
from tests.export.conftest import TILES_ZYX, tiny_recipe
from training.learning.checkpoint import CheckpointError, build_network, load_trained, load_weights
from training.recipe import ROI_MARGIN_MM


def test_the_manifest_says_what_the_recipes_said(exported: Path) -> None:
    manifest = load_manifest(exported)
    assert manifest.release == "1.2.3"
    assert manifest.roi_margin_mm == ROI_MARGIN_MM
    for name, stage in (("coarse", manifest.coarse), ("fine", manifest.fine)):
        recipe = tiny_recipe(name)
        assert stage.spacing_zyx == recipe.grid.spacing_zyx == (6, 5, 4)
        assert stage.tile_zyx == TILES_ZYX[name]
        assert stage.overlap == 0.125
        assert (stage.window_hu, stage.mean_hu, stage.std_hu) == ((-160, 240), 40, 25)
        assert [(variant.precision, variant.parity) for variant in stage.variants] == [
            ("float32", None),
            ("float16", None),
        ]
    assert (manifest.coarse.output.classes, manifest.fine.output.classes) == (2, 14)
    assert manifest.labels == {organ: label for label, organ in enumerate(ORGANS, start=1)}


def test_every_organ_has_the_rule_that_the_best_systems_had_for_it() -> None:
    assert set(COMPONENT_RULES) == set(ORGANS)
    by_rule: dict[str, set[str]] = {}
    for organ, rule in COMPONENT_RULES.items():
        by_rule.setdefault(type(rule).__name__, set()).add(organ)
    assert by_rule[KeepAll.__name__] == {"aorta", "inferior vena cava", "esophagus", "duodenum"}
    assert by_rule[KeepParts.__name__] == {"right kidney", "left kidney", "gallbladder"}
    assert len(by_rule[KeepLargest.__name__]) == 5
    assert by_rule[KeepHighest.__name__] == {"liver"}
    assert COMPONENT_RULES["gallbladder"] == KeepParts(min_fraction=0.1, min_volume_ml=0.5)


def test_a_release_says_which_organs_are_never_seen_alone(exported: Path) -> None:
    rule = load_manifest(exported).seen_together
    assert rule == SEEN_TOGETHER
    assert {*rule.organs, *rule.beside} == {*ORGANS} - {"aorta", "inferior vena cava", "esophagus"}


def test_runs_in_the_wrong_order_are_refused(runs: tuple[Path, Path]) -> None:
    coarse, fine = runs
    with pytest.raises(ExportError, match="is a run of the fine stage, the coarse one is needed"):
        build_release(fine, coarse, "1.2.3")


def test_the_weights_of_a_release_exported_again_are_the_same_release(exported: Path) -> None:
    # `make export`: the release's own files are what it is rebuilt from
    again = build_release(exported / "coarse.safetensors", exported / "fine.safetensors", "1.2.3")
    assert again == read_release(exported)
    assert sorted(again.files) == [
        "coarse.float16.onnx",
        "coarse.onnx",
        "coarse.safetensors",
        "fine.float16.onnx",
        "fine.onnx",
        "fine.safetensors",
    ]


def test_fewer_significant_bits_are_bfloat16s_and_compress_better(runs: tuple[Path, Path]) -> None:
    network = load_trained(runs[1]).network
    eight, eleven = half_precision(network, significant_bits=8), half_precision(network)
    assert len(zlib.compress(eight)) < 0.95 * len(zlib.compress(eleven))
    rounded = safetensors.torch.load(eight)
    for name, fine in safetensors.torch.load(eleven).items():
        if fine.ndim == 1:
            assert torch.equal(rounded[name], fine), name  # a norm's are few, and every channel hangs on them
        else:
            normal = fine.abs() > 2**-14
            assert torch.equal(rounded[name][normal], fine.bfloat16().half()[normal]), name
            torch.testing.assert_close(rounded[name].float(), fine.float(), rtol=2**-8, atol=2**-18)


def test_the_weights_of_a_release_are_not_rounded_again(exported: Path, runs: tuple[Path, Path]) -> None:
    built = build_release(exported / "coarse.safetensors", runs[1], "1.2.3", significant_bits=8)
    assert built.files["coarse.safetensors"] == (exported / "coarse.safetensors").read_bytes()
    assert built.files["fine.safetensors"] != (exported / "fine.safetensors").read_bytes()


def test_a_number_that_rounds_beyond_half_precision_is_refused() -> None:
    layer = torch.nn.Conv3d(1, 1, 1, bias=False)
    torch.nn.init.constant_(layer.weight, -65504.0)
    half_precision(layer)
    with pytest.raises(ExportError, match=r"weight holds 6.55e\+04, and half precision ends at 65504"):
        half_precision(layer, significant_bits=8)


def test_training_reads_the_numbers_that_the_engine_reads(exported: Path, runs: tuple[Path, Path]) -> None:
    stored = safetensors.torch.load_file(exported / "fine.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    # as a network with its recipe, and as what a run starts from
    released = load_trained(exported / "fine.safetensors")
    assert released.recipe == load_trained(runs[1]).recipe
    started = build_network(released.recipe)
    load_weights(started, exported / "fine.safetensors")
    for network in (released.network, started):
        state = network.state_dict()
        for name, tensor in stored.items():
            assert state[name].dtype == torch.float32
            assert torch.equal(state[name], tensor.float()), name
    # and they are those that were trained, but for the rounding
    trained = load_trained(runs[1]).network.head.weight
    assert not torch.equal(released.network.head.weight, trained)
    assert torch.equal(released.network.head.weight, trained.half().float())


def test_weights_of_a_release_without_their_recipe_are_named(exported: Path, tmp_path: Path) -> None:
    shutil.copy(exported / "fine.safetensors", tmp_path)
    with pytest.raises(CheckpointError, match=r"no fine\.recipe\.toml beside .*fine\.safetensors"):
        load_trained(tmp_path / "fine.safetensors")


def test_accuracy_is_read_from_figures_as_export_writes_them(tmp_path: Path) -> None:
    file = tmp_path / "measured.json"
    row = {"case": "A", "what": "validation", "organ": "liver", "dsc": 0.9, "nsd": None}
    file.write_text(json.dumps({"accuracy": [row]}))
    assert read_figures(file).accuracy == (Accuracy("A", "validation", "liver", 0.9, None),)
    file.write_text(json.dumps({"accuracy": [row | {"dsc": 1.9}]}))
    with pytest.raises(ExportError, match=r"measured\.json does not hold figures as export writes them"):
        read_figures(file)
    with pytest.raises(ExportError, match="cannot read the figures"):
        read_figures(tmp_path / "nowhere.json")
