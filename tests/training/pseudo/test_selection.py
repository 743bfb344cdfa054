from pathlib import Path

import pytest
from attention_dmfnet.adult_volumes import ADULT_VOLUMES

from evaluation.organs import ORGANS
from training.data.pseudo_folder import LabelledCase, OrganReliability
from training.errors import TrainingError
from training.pseudo.selection import Selection, decide, read_selection, refuse_unknown_cases

NORMAL_ML = {organ: (low * high) ** 0.5 for organ, ((low, high), _, _) in ADULT_VOLUMES.items()}


def found(
    organ: str, probability: float = 0.95, agreement: float | None = None, **changes: float | bool
) -> OrganReliability:
    values = {"volume_ml": NORMAL_ML[organ], "cut": False} | changes
    return OrganReliability(float(values["volume_ml"]), probability, agreement, bool(values["cut"]))


def case(**organs: OrganReliability) -> LabelledCase:
    everything = {organ: found(organ) for organ in ORGANS} | {name.replace("_", " "): it for name, it in organs.items()}
    return LabelledCase("a", "a.nii.gz", ("t",), "stamp", everything, ())


def test_a_case_whose_organs_are_all_trusted_is_kept_whole() -> None:
    decision = decide(case(), Selection())
    assert decision.kept
    assert decision.annotated == tuple(range(1, 14))
    assert decision.weight == pytest.approx(0.95)
    assert decision.dropped == {}


def test_an_organ_that_the_teacher_is_not_sure_of_is_dropped_and_the_case_kept() -> None:
    decision = decide(case(spleen=found("spleen", probability=0.6)), Selection())
    assert decision.kept
    assert 3 not in decision.annotated
    assert decision.dropped == {"spleen": "mean probability 0.60 is below 0.85"}


def test_thin_organs_are_compared_with_their_own_threshold() -> None:
    shaky = {"probability": 0.82}
    decision = decide(
        case(right_adrenal_gland=found("right adrenal gland", **shaky), liver=found("liver", **shaky)), Selection()
    )
    assert list(decision.dropped) == ["liver"]


def test_confident_teachers_that_disagree_are_not_trusted() -> None:
    decision = decide(case(stomach=found("stomach", 0.99, agreement=0.4)), Selection())
    assert decision.dropped == {"stomach": "teachers agree by 0.40, below 0.85"}


def test_phases_of_one_patient_that_disagree_are_not_trusted() -> None:
    decision = decide(case(), Selection(), phases={"stomach": 0.7, "pancreas": 0.7, "liver": 0.9})
    assert decision.dropped == {"stomach": "the patient's phases agree by 0.70, below 0.80"}
    assert decide(case(), Selection(min_phase_agreement={"all": 0.5}), phases={"stomach": 0.7}).dropped == {}


def test_an_organ_that_the_scan_cuts_need_not_agree_between_phases() -> None:
    cut = case(liver=found("liver", cut=True))
    assert decide(cut, Selection(), phases={"liver": 0.3}).dropped == {}
    # and it weighs as much as without them
    assert decide(cut, Selection(), phases={"liver": 0.0}).weight == pytest.approx(0.95)


def test_phases_that_agree_less_weigh_less() -> None:
    """The geometric mean of 0.95 and, of one organ, 0.8: (12 * 0.95 + (0.95 * 0.8) ** 0.5) / 13."""
    decision = decide(case(), Selection(), phases={"liver": 0.8})
    assert decision.weight == pytest.approx((12 * 0.95 + 0.76**0.5) / 13)


def test_an_impossible_volume_is_not_trusted_however_sure_the_teacher_is() -> None:
    decision = decide(case(gallbladder=found("gallbladder", 1.0, volume_ml=900.0)), Selection())
    assert decision.dropped == {"gallbladder": "900 mL is more than 250 mL"}
    decision = decide(case(spleen=found("spleen", 1.0, volume_ml=4.0)), Selection())
    assert decision.dropped == {"spleen": "4.0 mL is less than 30.0 mL"}


def test_an_organ_that_the_scan_cuts_may_be_small_but_not_large() -> None:
    assert decide(case(liver=found("liver", volume_ml=90.0, cut=True)), Selection()).dropped == {}
    assert "liver" in decide(case(liver=found("liver", volume_ml=9000.0, cut=True)), Selection()).dropped


def test_labelled_scans_narrow_what_is_possible() -> None:
    # 890 mL of stomach, which textbooks allow: ascites, in a data set whose stomachs are small
    ascites = case(stomach=found("stomach", 1.0, volume_ml=890.0))
    assert decide(ascites, Selection()).dropped == {}
    decision = decide(ascites, Selection(), {"stomach": (100.0, 400.0)})
    assert decision.dropped == {"stomach": "890 mL is more than 800 mL"}


def test_what_was_seen_in_labelled_scans_is_possible_whatever_textbooks_say() -> None:
    huge = case(spleen=found("spleen", volume_ml=2000.0))
    assert "spleen" in decide(huge, Selection()).dropped
    assert decide(huge, Selection(), {"spleen": (150.0, 2100.0)}).dropped == {}


def test_a_case_needs_enough_organs() -> None:
    few = LabelledCase("a", "a", ("t",), "s", {organ: found(organ) for organ in ORGANS[:5]}, ())
    decision = decide(few, Selection())
    assert not decision.kept
    assert decision.why == "only 5 organs can be trusted, 6 are needed"
    assert decide(few, Selection(min_organs=5)).kept


def test_an_organ_that_was_not_found_is_never_taught_as_absent() -> None:
    organs = {organ: found(organ) for organ in ORGANS if organ != "gallbladder"}
    decision = decide(LabelledCase("a", "a", ("t",), "s", organs, ()), Selection())
    assert 9 not in decision.annotated
    assert "gallbladder" not in decision.dropped


def test_the_weight_is_high_only_if_probability_and_agreement_are() -> None:
    organs = {organ: found(organ, 0.98, agreement=0.92) for organ in ORGANS}
    decision = decide(LabelledCase("a", "a", ("t",), "s", organs, ()), Selection())
    assert decision.weight == pytest.approx((0.98 * 0.92) ** 0.5)


def test_thresholds_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "selection.toml"
    path.write_text('min_organs = 3\n[min_probability]\nliver = 0.99\n"left kidney" = 0.5\n')
    selection = read_selection(path)
    decision = decide(case(left_kidney=found("left kidney", 0.6)), selection)
    assert decision.dropped == {"liver": "mean probability 0.95 is below 0.99"}


def test_what_a_picture_shows_is_left_out_by_hand_whatever_the_numbers_say(tmp_path: Path) -> None:
    path = tmp_path / "selection.toml"
    path.write_text('[leave_out]\na = ["stomach", "left kidney"]\nb = ["all"]\n')
    selection = read_selection(path)
    decision = decide(case(), selection)
    assert decision.dropped == {"stomach": "left out by hand", "left kidney": "left out by hand"}
    assert decision.annotated == (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12)
    assert not decide(LabelledCase("b", "b.nii.gz", ("t",), "stamp", case().organs, ()), selection).kept
    assert decide(LabelledCase("c", "c.nii.gz", ("t",), "stamp", case().organs, ()), selection).dropped == {}


def test_a_case_that_is_left_out_under_a_wrong_name_is_told() -> None:
    selection = Selection(leave_out={"Case_0001": ("stomach",)})
    refuse_unknown_cases(selection, {"Case_0001", "Case_0002"})
    with pytest.raises(TrainingError, match=r"'Case_0001', which is no scan here; did you mean Case_00001\? mend"):
        refuse_unknown_cases(selection, {"Case_00001"})


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_thresholds_may_be_saved_by_a_windows_editor(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "selection.toml"
    path.write_bytes("min_organs = 3\r\n[min_probability]\r\nliver = 0.99\r\n".encode(encoding))
    assert read_selection(path) == Selection(min_probability={"liver": 0.99}, min_organs=3)


def test_one_threshold_may_stand_for_all_organs_but_those_that_are_named() -> None:
    selection = Selection(min_probability={"all": 0.96, "liver": 0.9})
    assert set(decide(case(), selection).dropped) == set(ORGANS) - {"liver"}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[min_probability]\nlever = 0.9", "'lever' is no organ"),
        ("[min_probability]\nliver = 90", "<= 1"),
        ("[leave_out]\na = ['lever']", "'lever' is no organ"),
        ("[leave_out]\na = 'liver'", "array"),
        ("min_organ = 3", "min_organ"),
        ("min_organs = ", "Invalid value"),
    ],
)
def test_refuses_thresholds_that_mean_nothing(tmp_path: Path, text: str, what: str) -> None:
    path = tmp_path / "selection.toml"
    path.write_text(text)
    with pytest.raises(TrainingError, match=r"selection.toml") as raised:
        read_selection(path)
    assert what in str(raised.value)


@pytest.mark.parametrize("organ", ORGANS)
def test_what_is_possible_is_what_the_engine_holds_possible(organ: str) -> None:
    low, high = ADULT_VOLUMES[organ].possible_ml
    for volume, kept in ((0.9 * low, False), (1.1 * low, True), (0.9 * high, True), (1.1 * high, False)):
        decision = decide(case(**{organ.replace(" ", "_"): found(organ, volume_ml=volume)}), Selection())
        assert (organ not in decision.dropped) is kept
