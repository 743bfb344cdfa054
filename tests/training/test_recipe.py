"""Claims about recipes: what they say, what is refused, and that the paper's protocol stands in one."""

import math
from pathlib import Path

import pytest

from training.errors import TrainingError
from training.recipe import (
    RECIPES,
    SGD,
    STAGES,
    BetaCE,
    RecipeError,
    differences,
    load_recipe,
    parse_recipe,
    write_recipe,
)

BOTH = ("flare22", "small", "gpu-quarter-hour", "trial")


def test_flare22_is_the_papers_protocol() -> None:
    recipe = load_recipe("flare22", "fine")
    assert recipe.grid.tile_zyx == (80, 192, 160)
    assert (recipe.run.batch, recipe.run.epochs) == (2, 1000)
    assert recipe.optimiser == SGD(learning_rate=0.01, momentum=0.99, nesterov=True)
    assert (recipe.schedule.shape, recipe.schedule.halve_every_epochs) == ("halving", 200)
    assert (recipe.network.stem, recipe.network.width, recipe.network.groups) == (32, 128, 16)
    assert recipe.loss.class_weights == ()
    assert recipe.loss.dice_weight == 1
    assert recipe.run.ema == 0


def test_every_recipe_is_valid_and_survives_writing() -> None:
    of_one_stage = ("painted-coarse", "painted-fine", "painted-gpu", "ablation")
    assert {path.stem for path in RECIPES.glob("*.toml")} == {*BOTH, *of_one_stage}
    recipes = [load_recipe(name, stage) for name in BOTH for stage in ("coarse", "fine")]
    recipes += [load_recipe(name) for name in of_one_stage]
    for recipe in recipes:
        assert parse_recipe(write_recipe(recipe), "a run") == recipe
        assert recipe.network.classes == {"coarse": 2, "fine": 14}[recipe.stage]


@pytest.mark.parametrize("stage", ["coarse", "fine"])
def test_the_trial_is_a_few_minutes_of_work_on_every_machine(stage: str) -> None:
    """Voxels that are shown to the network, times its channels, are what training costs, however fast the machine."""
    recipe = load_recipe("trial", stage)
    assert recipe.run.minutes == 0
    steps = recipe.run.epochs * recipe.run.steps_per_epoch
    assert steps * recipe.run.batch * math.prod(recipe.grid.tile_zyx) * recipe.network.width < 3e9


def test_no_recipe_can_ask_for_flips() -> None:
    with pytest.raises(RecipeError, match="unknown field `flip_probability`"):
        load_recipe("small", "fine", ["augmentation.flip_probability=0.5"])


def test_what_stands_below_a_stage_is_laid_over_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    text = (RECIPES / "small.toml").read_text()
    path.write_text(text.replace("[coarse.run]", "[coarse.run]\nseed = 7"))
    assert load_recipe(path, "coarse").run.seed == 7
    assert load_recipe(path, "fine").run.seed == 1


def test_changes_are_laid_over_the_file() -> None:
    changes = ["run.minutes=5", "grid.tile_zyx=[32, 32, 48]", 'loss.pseudo={name="beta", beta=0.9}']
    recipe = load_recipe("small", "fine", changes)
    assert recipe.run.minutes == 5
    assert recipe.grid.tile_zyx == (32, 32, 48)
    assert recipe.loss.pseudo == BetaCE(0.9)


def test_an_optimiser_of_another_name_replaces_the_whole_section() -> None:
    recipe = load_recipe("small", "fine", ['optimiser={name="sgd", learning_rate=0.1}', "schedule.freeze_samples=8"])
    assert recipe.optimiser == SGD(learning_rate=0.1)


@pytest.mark.parametrize(("change", "sentence"), [
    ("run.minuts=5", "unknown field `minuts`"),
    ("run.batch=0", ">= 1"),
    ("run.batch=2.5", "Expected `int`"),
    ("run.epochs=3", "one budget: either epochs or minutes"),
    ("grid.tile_zyx=[64, 96, 100]", "multiples of 16"),
    ("grid.spacing_zyx=[3, 2.5]", "length 3"),
    ("grid.spacing_zyx=[3, 2.5, 0]", "> 0"),
    ("intensity.window_hu=[300, -200]", "from low to high"),
    ("intensity.mean_hu=nan", "must be finite"),
    ("network.width=100", "multiple of groups 16"),
    ("loss.class_weights=[1, 2]", "2 loss.class_weights do not fit 14 classes"),
    ("loss.tversky_beta=[0.5]", "1 loss.tversky_beta do not fit 14 classes"),
    ("loss.edge_weight=0.5", ">= 1.0"),
    ('loss.pseudo={name="alpha"}', "Invalid value 'alpha'"),
    ("optimiser.momentum=0.9", "unknown field `momentum`"),
    ('schedule.shape="halving"', "halve_every_epochs"),
    ("augmentation.gamma=[2, 1]", "from low to high"),
    ("sampling.organ_share=1.2", "<= 1"),
    ("run.minutes", "write section.key=value"),
])  # fmt: skip
def test_what_makes_no_sense_is_refused_with_its_place(change: str, sentence: str) -> None:
    with pytest.raises(RecipeError) as refused:
        load_recipe("small", "fine", [change])
    assert sentence in str(refused.value)


GAMMA = "loss.pseudo_dice_gamma=1.5"
BETAS = "loss.tversky_beta=[0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.7,0.7,0.7,0.7,0.5,0.5,0.5]"
PATIENCE = ["run.patience=4", 'run.fold="all"']
FREEZE = "schedule.freeze_norm_at=0.8"


@pytest.mark.parametrize(("changes", "sentence"), [
    ([GAMMA, BETAS], "loss.pseudo_dice_gamma takes the place of loss.tversky_beta on pseudo labels"),
    ([FREEZE, "schedule.freeze_samples=0"], "freeze_norm_at 0.8 .* SGD.* no number; add schedule.freeze_samples=64"),
    (PATIENCE, 'run.patience 4 waits for scores of held-out cases, and run.fold "all" holds out none; set'),
])  # fmt: skip
def test_settings_that_are_of_no_use_together_are_refused_unless_a_run_is_begun_with_them(
    changes: list[str], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=sentence) as refused:
        load_recipe("flare22", "fine", changes)
    assert "\n" not in str(refused.value)
    # a run of before stays readable and goes on
    begun = load_recipe("flare22", "fine", changes, is_begun=True)
    (tmp_path / "recipe.toml").write_text(write_recipe(begun))
    assert parse_recipe(write_recipe(begun), "a run") == begun
    assert load_recipe(tmp_path / "recipe.toml", is_begun=True) == begun


def test_each_of_them_alone_is_taken() -> None:
    for change in ([GAMMA], [BETAS], [FREEZE], PATIENCE[:1], PATIENCE[1:]):
        assert differences(load_recipe("flare22", "fine"), load_recipe("flare22", "fine", change))
    assert load_recipe("small", "fine", [FREEZE]).schedule.freeze_norm_at == 0.8  # AdamW
    # painted patients are held out whatever the fold
    scored = ["run.validate_every_epochs=1", "run.validation_cases=1"]
    assert load_recipe("painted-fine", changes=[*PATIENCE, *scored]).run.patience == 4


def test_the_recipes_of_the_release_are_valid() -> None:
    for stage in STAGES:
        assert load_recipe(RECIPES.parents[1] / "models" / f"{stage}.recipe.toml").stage == stage


def test_far_patches_that_the_jitter_reaches_by_itself_are_refused_in_one_sentence() -> None:
    with pytest.raises(RecipeError) as refused:
        load_recipe("painted-fine", changes=["sampling.painted_far_mm=74"])
    told = "sampling.painted_far_mm 74 must not be less than the first of painted_jitter_mm_zyx, 75"
    assert told in str(refused.value)
    # what is never used is not judged
    never = ["sampling.painted_far_mm=74", "sampling.painted_far_probability=0"]
    assert load_recipe("painted-fine", changes=never).sampling.painted_far_mm == 74


def test_the_painted_fine_recipe_shows_chests_pelves_and_seams() -> None:
    sampling = load_recipe("painted-fine").sampling
    assert (sampling.painted_far_probability, sampling.painted_mix_probability) == (0.15, 0.1)


def test_a_coarse_network_with_organs_apart_is_refused() -> None:
    with pytest.raises(RecipeError, match="coarse stage has 2 classes"):
        load_recipe("small", "coarse", ["network.classes=14"])


def test_a_recipe_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(RecipeError, match="name one of ablation, flare22, gpu-quarter-hour, painted-coarse"):
        load_recipe("papers")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_a_recipe_may_be_saved_by_a_windows_editor(encoding: str, tmp_path: Path) -> None:
    text = "# für den Bauch\n" + (RECIPES / "small.toml").read_text(encoding="utf-8")
    path = tmp_path / "recipe.toml"
    path.write_bytes(text.replace("\n", "\r\n").encode(encoding))
    assert load_recipe(path, "fine") == load_recipe("small", "fine")


def test_the_stage_must_be_known_and_right() -> None:
    with pytest.raises(RecipeError, match="serves both stages; add --stage"):
        load_recipe("small")
    with pytest.raises(RecipeError, match="is a recipe for the stage 'fine', not 'coarse'"):
        load_recipe("painted-fine", "coarse")


def test_a_recipe_error_is_a_training_error() -> None:
    assert issubclass(RecipeError, TrainingError)
