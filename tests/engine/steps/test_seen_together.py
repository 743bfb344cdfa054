import json
from pathlib import Path

import attention_dmfnet as dmf
import numpy as np
import pytest
from attention_dmfnet.geometry import Volume
from attention_dmfnet.model.manifest import SeenTogether, load_manifest
from attention_dmfnet.steps.seen_together import alone_note, seen_alone

from tests.engine.tiny import AIR_HU, block_phantom, write_models

RULE = SeenTogether(("stomach", "duodenum"), ("liver", "spleen"), min_volume_ml=20)


@pytest.mark.parametrize(
    ("liver", "spleen", "alone"),
    [(0, 0, ["stomach"]), (12, 7.9, ["stomach"]), (12, 8, []), (0, 20, []), (1500, 0, [])],
)
def test_an_organ_is_alone_where_its_neighbours_together_are_too_little(
    liver: float, spleen: float, alone: list[str]
) -> None:
    volumes = {"stomach": 96.0, "duodenum": 0.0, "liver": liver, "spleen": spleen, "aorta": 40.0}
    assert seen_alone(volumes, RULE) == {organ: volumes[organ] for organ in alone}
    assert seen_alone(volumes, None) == {}


def test_the_note_says_what_was_dropped_and_why() -> None:
    one = alone_note({"stomach": 96.4}, RULE)
    assert one is not None
    assert one == "stomach of 96.4 mL: dropped, as the scan shows less than 20 mL of liver and spleen"
    assert one.code == "organ-alone"
    assert str(alone_note({"stomach": 96.4, "duodenum": 1.25}, RULE)).startswith(
        "stomach of 96.4 mL and duodenum of 1.25 mL: dropped, as"
    )
    assert alone_note({}, RULE) is None


@pytest.fixture(scope="module")
def models_with_a_rule(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = write_models(tmp_path_factory.mktemp("models"))
    manifest = json.loads((models / "manifest.json").read_text())
    # the blocks have less than a millilitre each
    rule = {"organs": ["stomach", "duodenum"], "beside": ["liver", "spleen"], "min_volume_ml": 0.1}
    (models / "manifest.json").write_text(json.dumps(manifest | {"seen_together": rule}))
    return models


@pytest.mark.parametrize("asked", [None, ["aorta", "stomach"], ["aorta"]])
def test_a_scan_without_liver_and_spleen_has_no_stomach(models_with_a_rule: Path, asked: list[str] | None) -> None:
    ct, truth = block_phantom()
    numbers = load_manifest(models_with_a_rule).labels
    hu = ct.array.copy()
    hu[np.isin(truth.array, [numbers["liver"], numbers["spleen"]])] = AIR_HU
    with dmf.load(models=models_with_a_rule, device="cpu", organs=asked) as segmenter:
        found = segmenter(Volume(hu, ct.geometry))
    gone = [numbers[organ] for organ in ("liver", "spleen", "stomach", "duodenum")]
    left = np.where(np.isin(truth.array, gone), 0, truth.array)
    if asked:
        left[~np.isin(left, [numbers[organ] for organ in asked])] = 0
    np.testing.assert_array_equal(found.labels.array, left)
    assert found.volumes_ml.get("stomach", 0) == 0
    notes = [str(note) for note in found.notes if note.code == "organ-alone"]
    assert len(notes) == (asked != ["aorta"])
    assert all(("duodenum" in note) == (asked is None) for note in notes)


def test_with_liver_and_spleen_in_view_the_stomach_stays(models_with_a_rule: Path) -> None:
    ct, truth = block_phantom()
    with dmf.load(models=models_with_a_rule, device="cpu") as segmenter:
        found = segmenter(ct)
    np.testing.assert_array_equal(found.labels.array, truth.array)
    assert "organ-alone" not in {note.code for note in found.notes}
