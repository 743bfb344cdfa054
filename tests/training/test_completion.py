"""Claims about completing an organ map to a whole body."""

from dataclasses import replace

import numpy as np
import pytest
from attention_dmfnet.geometry import Volume

from tests.training.bodies import anatomy
from training.painting.completion import BODY_SPACING_ZYX, Body, _inner_layers, as_volume, complete
from training.painting.tissue import Tissue, label_of_tissue


@pytest.fixture(scope="module", params=[True, False], ids=["abdomen", "whole"])
def completed(request: pytest.FixtureRequest) -> Body:
    """Organs 10 % smaller than the templates', completed from either."""
    target = anatomy("target", whole=False, vessels=False, scale=0.9)
    abdomen = anatomy("abdomen", whole=True, vessels=True)
    whole = anatomy("whole", whole=True, vessels=False)
    return complete(target, abdomen, whole, np.random.default_rng(3), prefer_abdomen=request.param)


def volume_ml(body: Body, label: int) -> float:
    voxels = np.count_nonzero(label_of_tissue()[body.tissues] == label)
    return float(voxels * np.prod(BODY_SPACING_ZYX) / 1000)


def test_the_targets_organs_keep_their_volumes(completed: Body) -> None:
    target = anatomy("target", whole=False, vessels=False, scale=0.9)
    for organ in (Tissue.LIVER, Tissue.SPLEEN, Tissue.LEFT_KIDNEY, Tissue.STOMACH):
        drawn = np.count_nonzero(target.tissues == organ) * 6.0**3 / 1000
        assert volume_ml(completed, int(organ)) == pytest.approx(drawn, rel=0.03)


def test_every_organ_lies_inside_the_body(completed: Body) -> None:
    organs = label_of_tissue()[completed.tissues] > 0
    padded = np.pad(completed.tissues, 1)
    for axis in range(3):
        for step in (-1, 1):
            beside = np.roll(padded, step, axis)[1:-1, 1:-1, 1:-1]
            assert not (beside[organs] == Tissue.AIR).any()


def test_the_aorta_comes_from_the_template_that_has_one(completed: Body) -> None:
    assert volume_ml(completed, int(Tissue.AORTA)) > 10


def test_there_is_a_body_around_the_organs(completed: Body) -> None:
    present = {Tissue(value) for value in np.unique(completed.tissues)}
    assert present >= {Tissue.AIR, Tissue.FAT, Tissue.SPONGIOSA, Tissue.LIVER}


def test_kidneys_have_a_cortex_and_the_stomach_a_wall(completed: Body) -> None:
    for wall, inner in (
        (Tissue.RIGHT_KIDNEY, Tissue.RIGHT_MEDULLA),
        (Tissue.STOMACH, Tissue.STOMACH_CONTENT),
    ):
        assert (completed.tissues == wall).any()
        assert (completed.tissues == inner).any()


def test_the_flat_end_of_a_kidney_has_a_cortex_too() -> None:
    tissues = np.zeros((30, 30, 30), np.uint8)
    tissues[5:25, 5:25, 5:25] = Tissue.RIGHT_KIDNEY
    layers = _inner_layers(tissues, (1.0, 1.0, 1.0))
    # 7 mm of cortex from every side leave 6 of 20
    inside = np.argwhere(layers == Tissue.RIGHT_MEDULLA)
    assert inside.min(0).tolist() == [12, 12, 12]
    assert inside.max(0).tolist() == [17, 17, 17]


def test_a_body_can_be_looked_at(completed: Body) -> None:
    assert as_volume(completed).geometry.spacing_zyx == BODY_SPACING_ZYX


def test_a_targets_bowel_does_not_take_the_hu_of_the_templates_gallbladder() -> None:
    target = anatomy("target", whole=False, vessels=False)
    bowel = np.where(target.tissues == Tissue.GALLBLADDER, np.uint8(Tissue.COLON), target.tissues)
    target = replace(target, volume=Volume(bowel, target.volume.geometry), known=target.known - {Tissue.GALLBLADDER})
    template = anatomy("abdomen", whole=True, vessels=True)
    template = replace(template, hu=np.where(template.tissues == Tissue.GALLBLADDER, 5, 700).astype(np.int16))
    body = complete(target, template, anatomy("whole", whole=True, vessels=False), np.random.default_rng(3))
    assert np.isin(body.tissues, (Tissue.COLON, Tissue.COLON_CONTENT)).any()
    assert (body.hu == 700).any()
    assert not (body.hu == 5).any()


def test_a_body_completed_with_itself_keeps_its_hu() -> None:
    template = anatomy("abdomen", whole=True, vessels=True)
    template = replace(template, hu=np.where(template.tissues == Tissue.LIVER, 5, 700).astype(np.int16))
    body = complete(template, template, anatomy("whole", whole=True, vessels=False), np.random.default_rng(3))
    liver = body.hu[body.tissues == Tissue.LIVER]
    assert np.mean(liver == 5) > 0.9
