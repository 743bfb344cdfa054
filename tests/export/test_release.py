import json
from pathlib import Path

import pytest
from attention_dmfnet.model.manifest import KeepAll, KeepHighest, KeepLargest, KeepParts, Measured, load_manifest

from evaluation.organs import ORGANS
from export.errors import ExportError
from export.release import COMPONENT_RULES, build_release, read_measured
from tests.export.conftest import TILES_ZYX, tiny_recipe
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


def test_runs_in_the_wrong_order_are_refused(runs: tuple[Path, Path]) -> None:
    coarse, fine = runs
    with pytest.raises(ExportError, match="is a run of the fine stage, the coarse one is needed"):
        build_release(fine, coarse, "1.2.3")


def test_accuracy_comes_from_a_file_of_the_manifests_own_rows(tmp_path: Path) -> None:
    file = tmp_path / "measured.json"
    row = {"case": "A", "what": "validation", "organ": "liver", "dsc": 0.9, "nsd": None}
    file.write_text(json.dumps([row]))
    assert read_measured(file) == (Measured("A", "validation", "liver", 0.9, None),)
    file.write_text(json.dumps([row | {"dsc": 1.9}]))
    with pytest.raises(ExportError, match=r"measured\.json is no list of the manifest's `measured` rows"):
        read_measured(file)
    with pytest.raises(ExportError, match="cannot read the accuracy"):
        read_measured(tmp_path / "nowhere.json")
