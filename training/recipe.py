"""Recipes: all that decides how a stage is trained, in one typed and validated TOML file.

A file under ``training/recipes`` may serve both stages: what stands below ``[coarse]`` or ``[fine]`` is laid over the
rest when that stage is asked for. A run folder keeps the flat result, with every value spelled out.
"""

import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from attention_dmfnet.geometry import Triple
from attention_dmfnet.json_text import one_line

from evaluation.text_file import decode_text
from training.arrays import TILE_MULTIPLE
from training.errors import TrainingError

RECIPES = Path(__file__).resolve().parent / "recipes"

Stage = Literal["coarse", "fine"]
STAGES: tuple[Stage, ...] = ("coarse", "fine")

Positive = Annotated[float, msgspec.Meta(gt=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=0)]
AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]

ROI_MARGIN_MM: Triple = (55.0, 20.0, 20.0)
"""z, y, x around the organs: training shows the fine stage as much, and the manifest makes the engine do so.

Export writes it into the manifest. In the plane what FLARE22's two-stage systems used; more along z, where long organs
end with nothing to see: chosen on 40 painted scans of training anatomy
(docs/decisions/0008-choose-margin-and-settings.md).
"""


class RecipeError(TrainingError):
    """A recipe that is missing, malformed or contradicts itself."""


class Network(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The arguments of :class:`training.network.attention_dmfnet.AttentionDMFNet`."""

    classes: Annotated[int, msgspec.Meta(ge=2, le=255)]
    stem: AtLeastOne = 32
    width: AtLeastOne = 128
    groups: AtLeastOne = 16
    gates: bool = True
    units: tuple[AtLeastOne, ...] = (3, 3, 3)

    def __post_init__(self) -> None:
        if self.stem < 4:
            raise ValueError(f"network.stem {self.stem} must be 4 or more: the first unit narrows it to a quarter")
        for name, channels in (("stem", self.stem), ("width", self.width)):
            if channels % self.groups:
                raise ValueError(f"network.{name} {channels} must be a multiple of groups {self.groups}")
        if len(self.units) not in (2, 3):
            raise ValueError(f"network.units {list(self.units)} must be the units of two or three stages")


class Grid(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The grid that the stage sees, mm, and the tile that it is trained on and runs on, voxels."""

    spacing_zyx: tuple[Positive, Positive, Positive]
    tile_zyx: tuple[AtLeastOne, AtLeastOne, AtLeastOne]
    overlap: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.25

    def __post_init__(self) -> None:
        if any(side % TILE_MULTIPLE for side in self.tile_zyx):
            raise ValueError(f"grid.tile_zyx {list(self.tile_zyx)} must be multiples of {TILE_MULTIPLE}")


class Intensity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """HU are clipped to ``window_hu``, then normalised: (HU - mean) / standard deviation."""

    window_hu: tuple[float, float] = (-200.0, 300.0)
    mean_hu: float = 50.0
    std_hu: Positive = 150.0

    def __post_init__(self) -> None:
        if not self.window_hu[0] < self.window_hu[1]:
            raise ValueError(f"intensity.window_hu {list(self.window_hu)} must go from low to high")


class Sampling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where samples come from, when the run has several sources, and how patches are placed.

    ``painted_share`` of the samples are painted from bodies, and of the others ``pseudo_share`` come from cases whose
    labels a teacher predicted. ``organ_share`` of the patches are centred on a voxel of an organ, each annotated organ
    of the case being as likely as the next; the others lie anywhere. ``painted_*`` are the painter's: the patch's
    centre strays from the organs' by up to ``painted_jitter_mm_zyx``. ``painted_far_probability`` of the patches stray
    as much from a place above or below, a chest or a pelvis: further along z than the jitter reaches, by up to
    ``painted_far_mm`` from the organs' centre. The scan ends inside the patch with ``painted_cut_probability``, blocks
    of ``painted_average`` voxels a side are averaged, as coarse grids show them, and ``painted_mix_probability`` of the
    patches have a box or slab of another one in them. Painted cases that are scored are neither far nor mixed.
    """

    organ_share: Share = 0.67
    pseudo_share: Share = 0.5
    painted_share: Share = 0.0
    painted_jitter_mm_zyx: tuple[NotNegative, NotNegative, NotNegative] = (75.0, 30.0, 40.0)
    painted_far_probability: Share = 0.0
    painted_far_mm: NotNegative = 270.0
    painted_cut_probability: Share = 0.3
    painted_mix_probability: Share = 0.0
    painted_average: Literal[1, 2] = 1
    workers: Count = 1

    def __post_init__(self) -> None:
        if self.painted_far_probability and self.painted_far_mm < self.painted_jitter_mm_zyx[0]:
            raise ValueError(
                f"sampling.painted_far_mm {self.painted_far_mm:g} must not be less than the first of "
                f"painted_jitter_mm_zyx, {self.painted_jitter_mm_zyx[0]:g}"
            )


class Augmentation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How samples of real scans are varied; painted ones vary by themselves. There are no flips: organs have sides.

    Each ``*_probability`` says how often; 0 switches a change off. ``rotation_deg`` is the largest turn about the z, y
    and x axis, ``scale`` the largest relative change of size, ``elastic_mm`` the largest shift of a smooth
    deformation. Noise and blur are in HU and voxels, ``low_resolution`` is the smallest factor of all axes,
    ``anisotropy`` that of the z axis alone (thick slices).
    """

    spatial_probability: Share = 0.3
    rotation_deg_zyx: tuple[NotNegative, NotNegative, NotNegative] = (15.0, 8.0, 8.0)
    scale: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.2
    elastic_probability: Share = 0.15
    elastic_mm: NotNegative = 8.0
    noise_probability: Share = 0.15
    noise_hu: NotNegative = 25.0
    blur_probability: Share = 0.15
    blur_voxels: NotNegative = 1.0
    gamma_probability: Share = 0.2
    gamma: tuple[Positive, Positive] = (0.7, 1.5)
    low_resolution_probability: Share = 0.1
    low_resolution: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.5
    anisotropy_probability: Share = 0.1
    anisotropy: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.25

    def __post_init__(self) -> None:
        if not self.gamma[0] <= self.gamma[1]:
            raise ValueError(f"augmentation.gamma {list(self.gamma)} must go from low to high")


class GeneralisedCE(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="name", tag="generalised"):
    """(1 - p^q) / q, Zhang & Sabuncu 2018."""

    q: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.7


class SymmetricCE(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="name", tag="symmetric"):
    """alpha CE + beta RCE, Wang et al. 2019; ``log_zero`` stands for log 0 (-4 in the paper, ln 1e-4 in its code)."""

    alpha: NotNegative = 0.1
    beta: NotNegative = 1.0
    log_zero: Annotated[float, msgspec.Meta(lt=0)] = -4.0


class BetaCE(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="name", tag="beta"):
    """-(p^beta - 1) / beta + sum of p_k^(beta + 1) / (beta + 1), Cui et al. 2022."""

    beta: Annotated[float, msgspec.Meta(gt=0)] = 0.5


class PlainCE(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="name", tag="cross-entropy"):
    """Cross-entropy, as on true labels."""


RobustLoss = GeneralisedCE | SymmetricCE | BetaCE | PlainCE


class Loss(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Dice + cross-entropy on true labels; on pseudo labels ``pseudo`` instead of the cross-entropy.

    ``class_weights`` weight the voxelwise part by the voxel's label (one number a class; none: all 1). ``dice_weight``
    and ``pseudo_dice_weight`` weight the Dice part, ``pseudo_weight`` a whole case with pseudo labels. The Dice part is
    as little robust as cross-entropy: from 1 to 2, ``pseudo_dice_gamma`` makes it the noise-robust Dice on pseudo
    labels (Wang et al. 2020), the more robust the nearer to 1. It has no ``tversky_beta``: a recipe has one of them.

    Two options for small organs and for edges. ``tversky_beta`` (one number a class; none: all 0.5, which is Dice)
    makes the Dice part the Tversky index (Salehi et al. 2017): above 0.5 a missed voxel costs more than a wrong one.
    Voxels beside one of another label count ``edge_weight`` times in the voxelwise part (Ronneberger et al. 2015).
    """

    class_weights: tuple[NotNegative, ...] = ()
    dice_weight: NotNegative = 1.0
    pseudo: RobustLoss = PlainCE()
    pseudo_dice_weight: NotNegative = 1.0
    pseudo_weight: NotNegative = 1.0
    pseudo_dice_gamma: Annotated[float, msgspec.Meta(ge=0, le=2)] = 0.0
    tversky_beta: tuple[Share, ...] = ()
    edge_weight: Annotated[float, msgspec.Meta(ge=1)] = 1.0

    def __post_init__(self) -> None:
        if 0 < self.pseudo_dice_gamma < 1:
            raise ValueError("loss.pseudo_dice_gamma is 0 (the soft Dice) or lies from 1 to 2")


class SGD(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="name", tag="sgd"):
    """Stochastic gradient descent with momentum."""

    learning_rate: Positive
    momentum: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.99
    nesterov: bool = True
    weight_decay: NotNegative = 0.0
    clip_norm: NotNegative = 0.0


class AdamW(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="name", tag="adamw"):
    """Adam with decoupled weight decay (on kernels only, not on norms and biases)."""

    learning_rate: Positive
    weight_decay: NotNegative = 0.01
    clip_norm: NotNegative = 0.0


class Schedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the learning rate falls, and when BatchNorm stops following the batch.

    ``cosine`` falls to 0 along the share of the budget that is spent, whatever its unit; ``halving`` halves every
    ``halve_every_epochs``. From the share ``freeze_norm_at`` on, BatchNorm keeps its running statistics. They are
    computed anew over ``freeze_samples`` before that, and over ``recalibrate_samples`` at the end (0: not): they lag
    behind the weights, and small batches leave them noisy. SGD needs the former and is refused without: frozen on
    lagging statistics, its loss soon is no number.
    """

    shape: Literal["cosine", "halving", "constant"]
    halve_every_epochs: Count = 0
    warm_up_steps: Count = 0
    freeze_norm_at: Share = 1.0
    freeze_samples: Count = 0
    recalibrate_samples: Count = 0

    def __post_init__(self) -> None:
        if (self.shape == "halving") is not (self.halve_every_epochs > 0):
            raise ValueError("schedule.halve_every_epochs belongs to the shape 'halving', and must then be 1 or more")


class Run(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The budget, either ``epochs`` or ``minutes`` (the other is 0), and how it is run.

    ``batch`` is what a step sees; several processes share it evenly. ``ema`` is the decay of the averaged weights a
    step (0: none). Every ``validate_every_epochs`` (0: only at the end) the ``fold``'s validation cases are scored, at
    most ``validation_cases`` of them (0: none); the fold "all" holds out nobody. Where ``patience`` (0: none) such
    scorings in a row bring no better mean DSC, the run ends early; the fold "all" has nothing to score. The weights are
    kept as snapshots at the shares ``snapshots_at``. ``precision`` is the network's; a GPU without bfloat16 takes
    float16, whose loss is scaled, and a CPU takes bfloat16 for float16. On a GPU the forms of each convolution are
    timed at the start, unless ``time_forms`` is off. Several processes normalise by the statistics of all their
    batches, or, without ``shared_norms``, each by its own.
    """

    batch: AtLeastOne
    steps_per_epoch: AtLeastOne
    epochs: Count = 0
    minutes: NotNegative = 0.0
    seed: Count = 1
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    ema: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0
    fold: Count | Literal["all"] = 0
    validate_every_epochs: Count = 0
    validation_cases: Count = 0
    patience: Count = 0
    checkpoint_every_s: Positive = 300.0
    snapshots_at: tuple[Share, ...] = ()
    shared_norms: bool = True
    time_forms: bool = True

    def __post_init__(self) -> None:
        if (self.epochs > 0) is (self.minutes > 0):
            raise ValueError("run needs one budget: either epochs or minutes greater than 0")
        if self.patience and not (self.validate_every_epochs and self.validation_cases):
            raise ValueError("run.patience needs scores on the way: set validate_every_epochs and validation_cases")


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of a recipe file, for one stage."""

    stage: Stage
    network: Network
    grid: Grid
    intensity: Intensity
    sampling: Sampling
    augmentation: Augmentation
    loss: Loss
    optimiser: SGD | AdamW
    schedule: Schedule
    run: Run

    def __post_init__(self) -> None:
        if self.stage == "coarse" and self.network.classes != 2:
            raise ValueError(f"the coarse stage has 2 classes (background, organs), not {self.network.classes}")
        weights = self.loss.class_weights
        for name, numbers in (("class_weights", weights), ("tversky_beta", self.loss.tversky_beta)):
            if numbers and len(numbers) != self.network.classes:
                raise ValueError(f"{len(numbers)} loss.{name} do not fit {self.network.classes} classes")
        finite = (*self.grid.spacing_zyx, *self.intensity.window_hu, self.intensity.mean_hu, *weights)
        if not all(math.isfinite(number) for number in (*finite, self.loss.edge_weight)):
            raise ValueError("all numbers of a recipe must be finite")


def load_recipe(
    name: str | Path, stage: str | None = None, changes: Sequence[str] = (), is_begun: bool = False
) -> Recipe:
    """The recipe ``name`` (one of ``training/recipes``, or a path ending in .toml) for ``stage``.

    ``changes`` are assignments such as ``run.minutes=5`` or ``grid.tile_zyx=[64, 64, 96]``, laid over the file.
    ``stage`` may be left out if the file names one. Raises ``RecipeError``, unless a run ``is_begun`` with it also for
    settings that are of no use together: releases up to 0.9.0 took them, and what they trained can still be read.
    """
    path = Path(name) if str(name).endswith(".toml") else RECIPES / f"{name}.toml"
    table = _read(path)
    by_stage: dict[str, Any] = {each: table.pop(each, {}) for each in STAGES}
    own = table.setdefault("stage", stage)
    if own not in STAGES or (stage is not None and own != stage):
        if own is None:
            raise RecipeError(f"{path} serves both stages; add --stage coarse or --stage fine")
        raise RecipeError(f"{path} is a recipe for the stage {own!r}" + (f", not {stage!r}" if stage else ""))
    _lay_over(table, by_stage[own])
    for change in changes:
        _lay_over(table, _assignment(change))
    recipe = _convert(table, str(path))
    if not is_begun and (why := _useless_together(recipe)):
        raise RecipeError(f"the recipe {path} is not valid: {why}")
    return recipe


def _useless_together(recipe: Recipe) -> str | None:
    loss, schedule, run = recipe.loss, recipe.schedule, recipe.run
    if loss.tversky_beta and loss.pseudo_dice_gamma:
        return (
            "loss.pseudo_dice_gamma takes the place of loss.tversky_beta on pseudo labels, which would go by only one "
            "of them; leave one out"
        )
    if isinstance(recipe.optimiser, SGD) and schedule.freeze_norm_at < 1 and not schedule.freeze_samples:
        return (
            f"schedule.freeze_norm_at {schedule.freeze_norm_at:g} freezes BatchNorm on statistics that lag behind the "
            "weights, and SGD's loss is then soon no number; add schedule.freeze_samples=64"
        )
    # painted scans are scored whatever the fold: their patients are always held out
    if run.patience and run.fold == "all" and recipe.sampling.painted_share < 1:
        return (
            f'run.patience {run.patience} waits for scores of held-out cases, and run.fold "all" holds out none; set '
            "run.patience=0, or hold out a fold"
        )
    return None


def parse_recipe(text: str, where: str) -> Recipe:
    """The recipe in ``text``, a flat TOML file as ``write_recipe`` makes it; ``where`` names it in errors."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{where} is not TOML: {error}") from error
    return _convert(table, where)


def write_recipe(recipe: Recipe) -> str:
    """``recipe`` as TOML with every value spelled out; ``parse_recipe`` gives the same recipe back."""
    table: dict[str, Any] = msgspec.to_builtins(recipe)
    lines = [f"{key} = {_toml(value)}" for key, value in table.items() if not isinstance(value, dict)]
    for name, section in table.items():
        if isinstance(section, dict):
            lines += ["", f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in section.items())]
    return "\n".join(lines) + "\n"


def differences(one: Recipe, other: Recipe) -> list[str]:
    """What two recipes do not share, such as ``run.seed``, in a recipe's order; none if they are equal."""
    here, there = msgspec.to_builtins(one), msgspec.to_builtins(other)
    found = []
    for name, section in here.items():
        pairs = [(name, section, there[name])]
        if isinstance(section, dict):
            keys = list(dict.fromkeys([*section, *there[name]]))
            pairs = [(f"{name}.{key}", section.get(key), there[name].get(key)) for key in keys]
        found += [key for key, mine, its in pairs if mine != its]
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(decode_text(path.read_bytes()))
    except FileNotFoundError:
        known = ", ".join(sorted(each.stem for each in RECIPES.glob("*.toml")))
        raise RecipeError(f"no recipe at {path}; name one of {known}, or give the path of a .toml file") from None
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"cannot read the recipe {path}: {error}") from error


def _convert(table: Mapping[str, Any], where: str) -> Recipe:
    try:
        # TOML has integers where a float is meant (50 for 50.0)
        recipe: Recipe = msgspec.convert(table, Recipe)
    except msgspec.ValidationError as error:
        raise RecipeError(f"the recipe {where} is not valid: {one_line(str(error))}") from error
    return recipe


def _lay_over(table: dict[str, Any], above: Mapping[str, Any]) -> None:
    for key, value in above.items():
        below = table.get(key)
        # a tagged section of another kind replaces the whole section: its fields have other names
        if (
            isinstance(value, Mapping)
            and isinstance(below, dict)
            and value.get("name", below.get("name")) == below.get("name")
        ):
            _lay_over(below, value)
        else:
            table[key] = dict(value) if isinstance(value, Mapping) else value


def _assignment(change: str) -> dict[str, Any]:
    try:
        return tomllib.loads(change)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(
            f"--set {change!r} is not TOML ({error}); write section.key=value, with text in double quotes"
        ) from error


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    # JSON's numbers, booleans and strings are TOML's
    return json.dumps(value, ensure_ascii=True)
