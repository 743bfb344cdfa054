"""Claims about completing an organ map to a whole body."""

from dataclasses import replace

import numpy as np
import pytest
from attention_dmfnet.geometry import Volume

from tests.training.bodies import anatomy
from training.errors import TrainingError
from training.painting.completion import BODY_SPACING_ZYX, Body, complete, inner_layers
from training.painting.tissue import NO_HU, Tissue, label_of_tissue
from training.painting.vessel_courses import make_atlas

ATLAS = make_atlas([anatomy("abdomen", whole=True, vessels=True), anatomy("larger", True, True, 1.05)])


@pytest.fixture(scope="module", params=[True, False], ids=["abdomen", "whole"])
def completed(request: pytest.FixtureRequest) -> Body:
    """Organs 10 % smaller than the templates', completed from either."""
    target = anatomy("target", whole=False, vessels=False, scale=0.9)
    abdomen = anatomy("abdomen", whole=True, vessels=True)
    whole = anatomy("whole", whole=True, vessels=False)
    made = complete(target, abdomen, whole, ATLAS, prefer_abdomen=request.param)
    return made.with_vessels(ATLAS, np.random.default_rng(3))


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


def test_both_great_vessels_are_drawn(completed: Body) -> None:
    for vessel in (Tissue.AORTA, Tissue.VENA_CAVA):
        assert volume_ml(completed, int(vessel)) > 10


def test_the_spine_follows_the_aorta(completed: Body) -> None:
    """The template's own spine lies 25 mm behind its aorta, and a little to the right."""
    for z in np.flatnonzero((completed.tissues == Tissue.PANCREAS).any((1, 2)))[::4]:
        aorta = np.argwhere(completed.tissues[z] == Tissue.AORTA).mean(0) * BODY_SPACING_ZYX[1:]
        spine = np.argwhere(completed.tissues[z] == Tissue.SPONGIOSA).mean(0) * BODY_SPACING_ZYX[1:]
        np.testing.assert_allclose(spine - aorta, (25.0, -8.0), atol=12.0)


def test_a_donor_lends_what_the_targets_author_did_not_draw() -> None:
    target = anatomy("target", whole=False, vessels=False, scale=0.9)
    bare = np.where(target.tissues == Tissue.GALLBLADDER, 0, target.tissues)
    target = replace(target, volume=Volume(bare, target.volume.geometry), known=target.known - {Tissue.GALLBLADDER})
    whole, donor = anatomy("whole", whole=True, vessels=False), anatomy("donor", whole=False, vessels=False)
    lent = complete(target, whole, whole, ATLAS, donor)
    where = np.argwhere(lent.tissues == Tissue.GALLBLADDER)
    assert len(where)
    # the donor's lies at (-20, -40, -55) mm of a patient a ninth larger
    place = where.mean(0) * BODY_SPACING_ZYX + np.array(lent.origin_lps)[::-1]
    np.testing.assert_allclose(place, 0.9 * np.array((-20, -40, -55)), atol=8)
    # an organ that was drawn, and is not there, is absent
    absent = replace(target, known=target.known | {int(Tissue.GALLBLADDER)})
    assert not (complete(absent, whole, whole, ATLAS, donor).tissues == Tissue.GALLBLADDER).any()


def test_other_vessels_are_drawn_by_another_generator() -> None:
    target = anatomy("target", whole=False, vessels=False)
    whole = anatomy("whole", whole=True, vessels=False)
    made = complete(target, whole, whole, ATLAS)
    one, two = (made.with_vessels(ATLAS, np.random.default_rng(seed)).tissues for seed in (1, 2))
    assert (one != two).any()


@pytest.mark.parametrize("first", [0, 10])
def test_a_vessel_that_ends_above_the_end_of_its_map_has_an_end(first: int) -> None:
    """Slices of 6 mm. An aorta in the map's first one may have been cut; one from the eleventh on ends there."""
    shown = anatomy("target", whole=False, vessels=True)
    tissues = shown.tissues.copy()
    tissues[:first][tissues[:first] == Tissue.AORTA] = Tissue.AIR
    target = replace(shown, volume=Volume(tissues, shown.volume.geometry))
    made = complete(target, anatomy("abdomen", True, True), anatomy("whole", True, False), ATLAS)
    assert made.vessels is not None
    aorta, cava = made.vessels.ends_mm
    assert np.isnan(cava)
    # the body begins below the map
    begins = shown.volume.geometry.origin_lps[2] - made.origin_lps[2]
    assert np.isnan(aorta) if first == 0 else aorta == pytest.approx(begins + 60, abs=6)


def test_a_map_without_kidneys_is_refused_by_name() -> None:
    whole = anatomy("whole", whole=True, vessels=False)
    bare = replace(whole, name="odd", volume=Volume(whole.tissues * (whole.tissues != 2), whole.volume.geometry))
    with pytest.raises(TrainingError, match="odd lacks its liver or a kidney"):
        complete(bare, whole, whole, ATLAS)


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
    layers = inner_layers(tissues, (1.0, 1.0, 1.0))
    # 7 mm of cortex from every side leave 6 of 20
    inside = np.argwhere(layers == Tissue.RIGHT_MEDULLA)
    assert inside.min(0).tolist() == [12, 12, 12]
    assert inside.max(0).tolist() == [17, 17, 17]


def test_a_targets_bowel_does_not_take_the_hu_of_the_templates_gallbladder() -> None:
    target = anatomy("target", whole=False, vessels=False)
    bowel = np.where(target.tissues == Tissue.GALLBLADDER, np.uint8(Tissue.COLON), target.tissues)
    target = replace(target, volume=Volume(bowel, target.volume.geometry), known=target.known - {Tissue.GALLBLADDER})
    template = anatomy("abdomen", whole=True, vessels=True)
    template = replace(template, hu=np.where(template.tissues == Tissue.GALLBLADDER, 5, 700).astype(np.int16))
    body = complete(target, template, anatomy("whole", whole=True, vessels=False), ATLAS)
    assert np.isin(body.tissues, (Tissue.COLON, Tissue.COLON_CONTENT)).any()
    assert (body.hu == 700).any()
    assert not (body.hu == 5).any()


def test_a_body_completed_with_itself_keeps_its_hu() -> None:
    template = anatomy("abdomen", whole=True, vessels=True)
    template = replace(template, hu=np.where(template.tissues == Tissue.LIVER, 5, 700).astype(np.int16))
    body = complete(template, template, anatomy("whole", whole=True, vessels=False), ATLAS)
    liver = body.hu[body.tissues == Tissue.LIVER]
    assert np.mean(liver == 5) > 0.9


def test_the_hu_of_a_templates_vessels_are_forgotten_where_other_ones_are_drawn() -> None:
    target = anatomy("target", whole=False, vessels=False)
    template = anatomy("abdomen", whole=True, vessels=True)
    template = replace(template, hu=np.where(template.tissues == Tissue.AORTA, 250, 60).astype(np.int16))
    body = complete(target, template, anatomy("whole", whole=True, vessels=False), ATLAS)
    assert (body.hu == 60).any()
    assert not (body.hu == 250).any()
    assert (body.hu == NO_HU).any()
