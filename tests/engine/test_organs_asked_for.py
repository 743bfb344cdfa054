"""``organs`` and ``strict``, from Python and from the command line."""

import json
from pathlib import Path

import attention_dmfnet as dmf
import numpy as np
import pytest
from attention_dmfnet.cli.main import main
from attention_dmfnet.cli.status import DONE, UNUSABLE
from attention_dmfnet.files.image_io import read_volume, write_volume
from attention_dmfnet.geometry import Box, Geometry
from attention_dmfnet.model.manifest import load_manifest
from attention_dmfnet.model.wanted_organs import wanted_organs
from attention_dmfnet.steps.components import Kept
from attention_dmfnet.steps.quality import judge

from evaluation.organs import ORGANS
from tests.engine.tiny import block_phantom

LIVER, LEFT_KIDNEY = 1, 13


def test_only_the_organs_asked_for_are_in_the_result_with_their_own_numbers(models: Path) -> None:
    ct, truth = block_phantom()
    with dmf.load(models=models, device="cpu", organs=["Left_Kidney", "liver"]) as segmenter:
        result = segmenter(ct)
        assert segmenter.organs == {"liver": LIVER, "left kidney": LEFT_KIDNEY}
    kept = np.where(np.isin(truth.array, (LIVER, LEFT_KIDNEY)), truth.array, 0)
    np.testing.assert_array_equal(result.labels.array, kept)
    assert list(result.volumes_ml) == ["liver", "left kidney"]
    assert result.volumes_ml["liver"] == pytest.approx(np.count_nonzero(truth.array == LIVER) * 12 / 1000)


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (
            ["livr"],
            r"^there is no organ 'livr'; did you mean liver\? the organs are liver, right kidney, .*, left kidney$",
        ),
        (["heart"], r"^there is no organ 'heart'; the organs are liver, "),
        (["liver", "right-kidny"], "did you mean right kidney"),
        ([], r"^no organ is asked for; the organs are liver, "),
    ],
)
def test_an_unknown_organ_is_refused_with_the_nearest_name_and_the_list(
    names: list[str], sentence: str, models: Path
) -> None:
    with pytest.raises(dmf.LoadError, match=sentence):
        dmf.load(models=models, organs=names)


def test_one_name_is_one_organ_and_not_many_letters(models: Path) -> None:
    assert wanted_organs(load_manifest(models), "liver") == {"liver"}


def _judged(wanted: list[str] | None) -> list[tuple[str, str]]:
    """Codes and words on thirteen organs in a row: one cut and in two parts, one too large, one missing."""
    scan = Geometry(
        (40, 200, 200), (5.0, 1.0, 1.0), (0.0, 0.0, 0.0), ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
    )
    organs = {}
    for number, organ in enumerate(ORGANS):
        x = 10 * number + 5
        organs[organ] = Kept(1000, (5.0, 50.0, float(x)), Box((1, 45, x - 4), (9, 55, x + 4)))
    organs["spleen"] = Kept(1000, (4.0, 50.0, 25.0), Box((0, 45, 21), (9, 55, 29)), large_parts=2)
    volumes = {organ: 100.0 for organ in ORGANS} | {"liver": 5000.0, "stomach": 0.0}
    del organs["stomach"]
    volumes |= {"right adrenal gland": 5.0, "left adrenal gland": 5.0, "esophagus": 50.0}
    notes = judge(organs, volumes, Box((0, 0, 0), (40, 200, 200)), scan, wanted)
    return [(note.code, str(note)) for note in notes]


def test_notes_on_an_organ_that_is_left_out_are_left_out_and_those_on_the_scan_stay() -> None:
    everything = [code for code, _ in _judged(None)]
    assert {"organ-cut", "organ-volume", "organ-missing", "organ-in-parts"} <= set(everything)
    on_the_scan = [note for note in _judged(None) if note[0] in ("sides-exchanged", "upside-down")]
    assert _judged(["pancreas"]) == on_the_scan
    assert [code for code, _ in _judged(["spleen"])][:2] == ["organ-cut", "organ-in-parts"]
    assert [code for code, _ in _judged(["liver"])][:1] == ["organ-volume"]
    assert [code for code, _ in _judged(["stomach"])][:1] == ["organ-missing"]


def test_the_command_line_keeps_only_the_organs_asked_for(
    tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ct, truth = block_phantom()
    write_volume(ct, tmp_path / "a.nii.gz")
    line = ["predict", str(tmp_path / "a.nii.gz"), str(tmp_path / "out"), "--models", str(models), "--json", "--organs"]
    assert main([*line, "livr"]) == UNUSABLE
    assert "there is no organ 'livr'; did you mean liver?" in capsys.readouterr().err
    assert main([*line, "liver", "left-kidney"]) == DONE
    assert list(json.loads(capsys.readouterr().out)["volumes_ml"]) == ["liver", "left kidney"]
    kept = np.where(np.isin(truth.array, (LIVER, LEFT_KIDNEY)), truth.array, 0)
    np.testing.assert_array_equal(read_volume(tmp_path / "out" / "a.nii.gz").array, kept)
