"""Claims about the ablation: every arm and seed is run once, on the same budget, and the table is right."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from attention_dmfnet.files.image_io import write_volume
from attention_dmfnet.geometry import Volume
from msgspec.structs import replace

from evaluation.accuracy.flare22 import OrganScore
from tests.training.bodies import body
from tests.training.small_patients import add_labelled, make_patient, write_recipe_for_patients
from tests.training.spheres import Spheres, cases, recipe
from training.__main__ import main
from training.errors import TrainingError
from training.learning.checkpoint import WEIGHTS, read_run_recipe
from training.learning.fit import Machine
from training.learning.source import Source, SourceError
from training.learning.validation import ValidationCase
from training.painting.bodies import HELD_OUT, save_body
from training.recipe import Recipe, load_recipe
from training.reports import ablation, ablation_figure, ablation_real
from training.reports.ablation import ARMS, TEACHER, write_ablation
from training.reports.ablation_real import RealScenario
from training.reports.ablation_scenarios import PaintedScenario, PseudoSource, cut_tile, labelled_places
from training.reports.ablation_table import table

CPU = Machine("cpu", threads=1)


class SpheresScenario:
    """Every arm sees the same balls."""

    def teacher(self, recipe: Recipe) -> Source:
        return Spheres()

    def student(self, recipe: Recipe, teacher: Path) -> Source:
        assert (teacher / "weights.safetensors").exists()
        return Spheres()

    def oracle(self, recipe: Recipe) -> Source | None:
        return Spheres()

    def validation(self, recipe: Recipe) -> Sequence[ValidationCase]:
        return cases(1)

    def description(self) -> list[str]:
        return ["balls"]

    def notes(self, recipe: Recipe, teacher: Path) -> list[str]:
        return []

    def made_of(self, recipe: Recipe) -> dict[str, str]:
        return {"--bodies": "balls"}


def test_every_arm_is_trained_with_every_seed_and_its_own_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = recipe(epochs=1, steps_per_epoch=1)
    small = replace(small, network=replace(small.network, classes=14))
    text = write_ablation(SpheresScenario(), small, [1, 2], tmp_path, CPU, list(ARMS))
    runs = {path.name for path in tmp_path.iterdir() if path.is_dir()}
    assert runs == {f"{name}-{seed}" for name in ("teacher", *ARMS) for seed in (1, 2)}
    losses = {type(read_run_recipe(tmp_path / name).loss.pseudo).__name__ for name in runs}
    assert losses == {"PlainCE", "GeneralisedCE", "SymmetricCE", "BetaCE"}
    assert read_run_recipe(tmp_path / "teacher-2").run.seed == 2
    assert read_run_recipe(tmp_path / "edges-1").loss.edge_weight == 3
    for column in (TEACHER, *(arm.title for arm in ARMS.values())):
        assert f"| {column} |" in text
    assert (tmp_path / "ablation.md").read_text() == text

    def never(*args: object, **options: object) -> None:
        raise AssertionError("a finished run was repeated")

    monkeypatch.setattr(ablation, "fit", never)
    assert write_ablation(SpheresScenario(), small, [1, 2], tmp_path, CPU, list(ARMS)) == text
    assert (tmp_path / "ablation.png").read_bytes().startswith(b"\x89PNG")


def test_scores_of_another_budget_or_other_scans_are_not_passed_for_these(tmp_path: Path) -> None:
    small = recipe(epochs=1, steps_per_epoch=1)
    text = write_ablation(SpheresScenario(), small, [1], tmp_path, CPU, ["longer"])
    longer = replace(small, run=replace(small.run, epochs=2))
    told = r"teacher-1 holds scores made with run.epochs 1 and not 2; name another folder with --to"
    with pytest.raises(TrainingError, match=told):
        write_ablation(SpheresScenario(), longer, [1], tmp_path, CPU, ["longer"])
    # of the arms alone
    with pytest.raises(TrainingError, match="longer-1 holds scores made with another --go-on"):
        write_ablation(SpheresScenario(), small, [1], tmp_path, CPU, ["longer"], go_on=1)

    class Others(SpheresScenario):
        def made_of(self, recipe: Recipe) -> dict[str, str]:
            return {"--bodies": "cubes"}

    with pytest.raises(TrainingError, match="holds scores made with another --bodies; name another folder"):
        write_ablation(Others(), small, [1], tmp_path, CPU, ["longer"])
    assert write_ablation(SpheresScenario(), small, [1], tmp_path, CPU, ["longer"]) == text


def test_what_an_ablation_is_made_of_changes_with_every_option_that_chooses_scans(bodies: Path, tmp_path: Path) -> None:
    how = painted_recipe()

    def made_of(**changes: object) -> dict[str, str]:
        settings: dict[str, Any] = {"bodies": bodies, "labelled": 1, "unlabelled": 3, "cases": 2} | changes
        return PaintedScenario(**settings).made_of(how)

    assert made_of() == made_of()
    shutil.copytree(bodies, tmp_path / "others")
    assert made_of(bodies=tmp_path / "others") == made_of()  # the same in another place
    changed = tmp_path / "others" / f"{HELD_OUT[0]}_0.npz"
    made = np.load(changed)
    np.savez_compressed(changed, tissues=np.flip(made["tissues"], 2), hu=made["hu"])
    for changes in ({"bodies": tmp_path / "others"}, {"labelled": 2}, {"unlabelled": 4}, {"cases": 3}):
        assert made_of(**changes) != made_of(), changes


def test_the_table_averages_over_cases_then_seeds() -> None:
    def scores(*dsc: float) -> dict[str, dict[int, OrganScore]]:
        return {f"case-{i}": {1: OrganScore(value, value / 2)} for i, value in enumerate(dsc)}

    text = table({"a": [scores(0.8, 0.6), scores(0.9, 0.9)], "b": [scores(0.5), scores(0.5)]}, recipe(), [1, 2], [])
    # means of the seeds 0.7 and 0.9: 0.8, standard deviation 0.1 * sqrt(2)
    assert "| liver | 0.800 ± 0.141 | 0.500 ± 0.000 |" in text
    assert "| liver | 0.400 ± 0.071 | 0.250 ± 0.000 |" in text


@pytest.fixture
def bodies(tmp_path: Path) -> Path:
    names = [f"word_00{number}_{template}" for number in (14, 16, 20) for template in (0, 1)]
    for name in [*names, f"{HELD_OUT[0]}_0", "ts_example_0"]:
        made = body()
        save_body(made, tmp_path / f"{name}.npz")
    return tmp_path


def painted_recipe() -> Recipe:
    small = recipe(epochs=1, steps_per_epoch=1)
    return replace(small, network=replace(small.network, classes=14))


def test_labelled_unlabelled_and_scored_anatomies_are_others(bodies: Path) -> None:
    scenario = PaintedScenario(bodies, labelled=1, unlabelled=3, cases=2)
    assert scenario.description() == [
        "labelled: 1 anatomies, painted anew for every sample in the portal phase",
        "unlabelled: 3 scans of 2 anatomies, plain or arterial",
        "scored: 2 scans of 1 anatomies, plain or arterial",
    ]


def test_at_least_one_anatomy_stays_unlabelled(bodies: Path) -> None:
    with pytest.raises(SourceError, match="must leave some of the 3 anatomies"):
        PaintedScenario(bodies, labelled=3, unlabelled=3, cases=2)


def test_students_see_the_teachers_labels_and_the_oracle_the_true_ones(bodies: Path, tmp_path: Path) -> None:
    scenario = PaintedScenario(bodies, labelled=1, unlabelled=2, cases=1)
    text = write_ablation(scenario, painted_recipe(), [1], tmp_path / "ablation", CPU)
    assert "pseudo labels of the teacher with seed 1: DSC 0." in text
    how = painted_recipe()
    student, oracle = scenario.student(how, tmp_path / "ablation" / "teacher-1"), scenario.oracle(how)
    assert isinstance(student, PseudoSource)
    assert oracle is not None
    drawn = [student.sample(np.random.default_rng(seed)) for seed in range(20)]
    assert {sample.is_pseudo for sample in drawn} == {True, False}
    assert not any(oracle.sample(np.random.default_rng(seed)).is_pseudo for seed in range(20))
    # the same seed draws the same scan, with another's labels
    pseudo = next(seed for seed, sample in enumerate(drawn) if sample.is_pseudo)
    true = oracle.sample(np.random.default_rng(pseudo))
    np.testing.assert_array_equal(drawn[pseudo].image, true.image)
    assert (drawn[pseudo].labels != true.labels).any()


def test_a_tile_is_cut_about_a_labelled_voxel_and_air_lies_beyond_the_scan() -> None:
    hu, labels = np.arange(8 * 8 * 8, dtype=np.int16).reshape(8, 8, 8), np.zeros((8, 8, 8), np.uint8)
    labels[1, 2, 7] = 3
    for seed in range(20):
        tile, drawn = cut_tile(hu, labels, labelled_places(labels), (4, 4, 4), -200, np.random.default_rng(seed))
        # never further than a quarter of the side from the middle: always within
        ((z, y, x),) = np.argwhere(drawn == 3)
        assert tile[z, y, x] == hu[1, 2, 7]
        # x 7 is the scan's last
        assert (tile[:, :, x + 1 :] == -200).all()
        assert not drawn[:, :, x + 1 :].any()


def test_labelled_voxels_are_looked_for_once_a_scan_and_not_for_each_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    how = painted_recipe()
    side = how.grid.tile_zyx[0] + 8
    hu, labels = np.zeros((side,) * 3, np.int16), np.zeros((side,) * 3, np.uint8)
    labels[side // 2, 3, 5] = 7
    source = PseudoSource(Spheres(), [hu], [labels], how)

    def never(*arguments: object) -> None:
        raise AssertionError("the whole scan was searched for a sample")

    for name in ("argwhere", "nonzero", "flatnonzero"):
        monkeypatch.setattr(np, name, never)
    samples = [source.sample(np.random.default_rng(seed)) for seed in range(20)]
    cut = [sample for sample in samples if sample.is_pseudo]
    assert cut
    assert all((sample.labels == 7).sum() == 1 for sample in cut)


def test_no_phase_of_a_scored_patient_is_among_the_unlabelled_scans(
    bodies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    for name in ("A-1-portal", "A-1-arterial", "A-1-after", "B-2-portal"):
        (scans / f"{name}_0000.nii.gz").touch()
    read: list[str] = []

    def read_volume(path: Path) -> Volume:
        read.append(path.name)
        return make_patient(1)[0]

    monkeypatch.setattr(ablation_real, "read_volume", read_volume)
    monkeypatch.setattr(ablation_real, "predict", lambda network, recipe, hu, device: np.zeros(hu.shape, np.uint8))
    monkeypatch.setattr(ablation_real, "load_trained", lambda run: SimpleNamespace(network=None))
    scenario = RealScenario(bodies, 1, scans, [])
    scored = [ValidationCase("A-1-portal", frozenset({1}), lambda: pytest.fail("nothing is scored here"))]
    monkeypatch.setattr(scenario, "validation", lambda recipe: scored)
    scenario.student(painted_recipe(), tmp_path)
    assert read == ["B-2-portal_0000.nii.gz"]


def test_real_scans_are_unlabelled_but_for_those_that_are_scored(bodies: Path, tmp_path: Path) -> None:
    raw, scans, data = tmp_path / "raw", tmp_path / "scans", tmp_path / "data"
    scored, _ = add_labelled(raw, "Scored", *make_patient(1))
    scans.mkdir()
    shutil.copy(scored, scans)
    write_volume(make_patient(2)[0], scans / "Other_0000.nii.gz")
    path = write_recipe_for_patients(tmp_path / "recipe.toml")
    prepare = ["prepare", str(raw), "--to", str(data), "--recipe", str(path), "--stage", "fine", "--workers", "1"]
    assert main(prepare) == 0
    how = load_recipe(path, "fine", ["sampling.workers=0"])
    scenario = RealScenario(bodies, 1, scans, [data])
    assert [case.name for case in scenario.validation(how)] == ["Scored"]
    text = write_ablation(scenario, how, [1], tmp_path / "ablation", CPU, ["ce", "oracle"])
    assert set(scenario.made_of(how)) == {"--bodies or --labelled", "--scans", "--scored"}
    # nobody knows the truth of a scan without labels: that arm is missing
    assert "| organ | teacher only | student, CE |" in text
    student = scenario.student(how, tmp_path / "ablation" / "teacher-1")
    samples = [student.sample(np.random.default_rng(seed)) for seed in range(20)]
    assert {sample.is_pseudo for sample in samples} == {True, False}
    assert {sample.image.shape for sample in samples} == {how.grid.tile_zyx}
    other = RealScenario(bodies, 1, raw / "FLARE22_LabeledCase50" / "images", [data])
    with pytest.raises(SourceError, match="no scan is left"):
        other.student(how, tmp_path / "ablation" / "teacher-1")


def test_the_picture_has_a_bar_an_arm_and_a_dot_a_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Any] = []

    def keep(figure: Any) -> bytes:
        figures.append(figure)
        return b""

    monkeypatch.setattr(ablation_figure, "as_png", keep)
    one, two = ({"case": {1: OrganScore(dsc, 0.0)}} for dsc in (0.4, 0.6))
    ablation_figure.draw({"a": [one, two], "b": [one]})
    (axes,) = figures[0].axes
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([0.5, 0.4])
    dots = [line.get_xdata().tolist() for line in axes.lines if line.get_marker() == "o"]
    assert dots == [pytest.approx([0.4, 0.6]), pytest.approx([0.4])]


def test_what_does_not_fit_together_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to = ["ablation", "--to", str(tmp_path)]
    for words, sentence in (
        ([], "name either --data or --bodies"),
        (["--bodies", "b", "--scans", "s"], "--scans and --scored go together"),
        (["--data", "d", "--scans", "s", "--scored", "s"], "--scans and --scored go together"),
        (["--data", "d", "--arms", "tversky", "--recipe", "small", "--stage", "coarse"], "about single organs"),
    ):
        assert main([*to, *words]) == 1
        assert sentence in capsys.readouterr().err


def test_arms_go_on_from_their_seeds_teacher(tmp_path: Path) -> None:
    small = recipe(epochs=2, steps_per_epoch=1)
    text = write_ablation(SpheresScenario(), small, [1], tmp_path, CPU, ["longer", "ce"], go_on=1)
    assert "- every arm goes on from its seed's teacher, for 1 more epochs" in text
    assert [read_run_recipe(tmp_path / name).run.epochs for name in ("teacher-1", "longer-1", "ce-1")] == [2, 1, 1]
    fresh = write_ablation(SpheresScenario(), recipe(epochs=1, steps_per_epoch=1), [1], tmp_path / "fresh", CPU, ["ce"])
    assert "goes on" not in fresh
    # the same step with the same sample, but not from the same weights
    ones = [(folder / "ce-1" / WEIGHTS).read_bytes() for folder in (tmp_path, tmp_path / "fresh")]
    assert ones[0] != ones[1]
