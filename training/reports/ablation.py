"""``python -m training ablation``: what unlabelled scans are worth, and which loss learns most from pseudo labels.

The same budget, split and seeds for every arm: a teacher on the labelled scans alone, and students on these and on
pseudo labels, one with each loss. The cases that are scored are in no arm's training.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec
from attention_dmfnet.cpus import available_cpus
from msgspec.structs import replace

from evaluation.accuracy.flare22 import OrganScore
from training.errors import TrainingError
from training.learning.checkpoint import RECIPE, WEIGHTS, read_run_recipe, replace_file
from training.learning.fit import Machine, fit
from training.learning.source import Source
from training.learning.validation import CaseScores
from training.recipe import (
    STAGES,
    BetaCE,
    GeneralisedCE,
    PlainCE,
    Recipe,
    SymmetricCE,
    differences,
    load_recipe,
)
from training.reports.ablation_figure import draw
from training.reports.ablation_real import RealScenario
from training.reports.ablation_scenarios import PaintedScenario, PreparedScenario, Scenario
from training.reports.ablation_table import ArmScores, table

_log = logging.getLogger(__name__)

TEACHER, ORACLE = "teacher only", "true labels"


@dataclass(frozen=True)
class Arm:
    """What is compared: the column's ``title``, what is learned ``by``, and what changes in the recipe's loss."""

    title: str
    by: Literal["labelled", "pseudo", "true"]
    changes: Mapping[str, Any] = field(default_factory=dict)


# a missed voxel of an adrenal, the gallbladder or the esophagus costs more than one too many
_SMALL_ORGANS = (7, 8, 9, 10)
_TVERSKY_BETA = tuple(0.7 if label in _SMALL_ORGANS else 0.5 for label in range(14))

ARMS: Mapping[str, Arm] = {
    "longer": Arm("teacher, as long", "labelled"),
    "tversky": Arm("teacher, Tversky", "labelled", {"tversky_beta": _TVERSKY_BETA}),
    "edges": Arm("teacher, edges", "labelled", {"edge_weight": 3.0}),
    "ce": Arm("student, CE", "pseudo", {"pseudo": PlainCE()}),
    "generalised": Arm("student, generalised CE", "pseudo", {"pseudo": GeneralisedCE()}),
    "symmetric": Arm("student, symmetric CE", "pseudo", {"pseudo": SymmetricCE()}),
    "beta": Arm("student, beta CE", "pseudo", {"pseudo": BetaCE()}),
    "robust-dice": Arm(
        "student, generalised CE, robust Dice", "pseudo", {"pseudo": GeneralisedCE(), "pseudo_dice_gamma": 1.5}
    ),
    "oracle": Arm(ORACLE, "true"),
}
"""By name on the command line. The teacher is always there: it makes the pseudo labels."""

_USUAL = ("ce", "generalised", "symmetric", "beta", "robust-dice", "oracle")

_SCORES, _MADE_OF = "scores.json", "made-of.json"

_CHANGE_NOTHING = ("run.checkpoint_every_s", "sampling.workers")
"""In a recipe: they change nothing that is learned."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of ``ablation``."""
    parser.add_argument("--to", metavar="DIR", type=Path, required=True, help="gets the runs and the table")
    parser.add_argument("--recipe", default="ablation", help="the recipe of every arm; default: ablation")
    parser.add_argument("--stage", choices=STAGES, default="fine", help="default: fine")
    parser.add_argument("--data", metavar="DATASET", type=Path, nargs="+", help="prepared, with true and pseudo labels")
    parser.add_argument("--bodies", metavar="DIR", type=Path, help="instead: painted scans, the truth known")
    parser.add_argument("--labelled", type=int, default=4, help="with --bodies: labelled anatomies; default: 4")
    parser.add_argument("--unlabelled", type=int, default=60, help="with --bodies: unlabelled scans; default: 60")
    parser.add_argument(
        "--scans", metavar="DIR", type=Path,
        help="with --bodies: the unlabelled scans are these real ones, NAME_0000.nii.gz, in place of painted ones",
    )  # fmt: skip
    parser.add_argument(
        "--scored",
        metavar="DATASET",
        type=Path,
        nargs="+",
        help="with --scans: prepared, all labelled cases are scored",
    )
    parser.add_argument("--cases", type=int, default=10, help="validation cases; default: 10")
    parser.add_argument(
        "--arms", choices=ARMS, nargs="+", default=_USUAL, help=f"beside the teacher; default: {' '.join(_USUAL)}"
    )
    parser.add_argument(
        "--go-on", metavar="EPOCHS", type=int, default=0,
        help="arms begin with the teacher's weights and take so many epochs; default: from scratch, as long as it",
    )  # fmt: skip
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="default: 1 2 3")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], dest="changes", help="as for fit")
    parser.add_argument("--accelerator", choices=["auto", "cpu", "cuda"], default="auto", help="default: auto")
    parser.add_argument("--threads", type=int, help="CPU threads; default: as many as the process may use")


def ablation(options: argparse.Namespace) -> int:
    """Run what is missing, then write the table; returns the exit status."""
    if (options.data is None) is (options.bodies is None):
        raise TrainingError("name either --data or --bodies: where the scans of the ablation come from")
    recipe = load_recipe(options.recipe, options.stage, options.changes)
    if "tversky" in options.arms and recipe.network.classes != len(_TVERSKY_BETA):
        raise TrainingError("the arm tversky is about single organs; leave it out, or compare the fine stage")
    scenario: Scenario
    if (options.scans is None) is not (options.scored is None) or (options.scans is not None and options.data):
        raise TrainingError("--scans and --scored go together, and with --bodies: painted labels, real scans")
    if options.scans is not None:
        scenario = RealScenario(options.bodies, options.labelled, options.scans, options.scored)
    elif options.bodies is not None:
        scenario = PaintedScenario(options.bodies, options.labelled, options.unlabelled, options.cases)
    else:
        scenario = PreparedScenario(options.data, options.cases)
    machine = Machine(options.accelerator, 1, 1, options.threads or available_cpus())
    write_ablation(scenario, recipe, options.seeds, options.to, machine, options.arms, options.go_on)
    return 0


def write_ablation(
    scenario: Scenario,
    recipe: Recipe,
    seeds: Sequence[int],
    folder: Path,
    machine: Machine,
    arms: Sequence[str] = _USUAL,
    go_on: int = 0,
) -> str:
    """Train every arm with every seed below ``folder``, and write ``ablation.md`` and its picture there.

    With ``go_on`` the arms begin with the teacher's weights and take so many epochs: a smaller budget tells more. The
    arm ``longer`` is then what the same steps without other scans give. The page's text is returned. Runs that are
    finished are not repeated, and one that was stopped goes on.

    Raises ``TrainingError`` where ``folder`` holds a run of another recipe or other scans.
    """
    made_of = {**scenario.made_of(recipe), "--go-on": "0"}
    of_arm = {**made_of, "--go-on": str(go_on)}
    scores: ArmScores = {}
    notes: list[str] = []
    if go_on:
        notes.append(f"every arm goes on from its seed's teacher, for {go_on} more epochs")
    for seed in seeds:
        seeded = replace(recipe, run=replace(recipe.run, seed=seed))
        of_arms = replace(seeded, run=replace(seeded.run, epochs=go_on, minutes=0.0)) if go_on else seeded
        teacher = folder / f"teacher-{seed}"
        _check_same(teacher, seeded, made_of)
        scores.setdefault(TEACHER, []).append(_scores(teacher, seeded, scenario.teacher(seeded), scenario, machine))
        if any(ARMS[name].by == "pseudo" for name in arms):
            notes += scenario.notes(seeded, teacher)
        for name in arms:
            arm = ARMS[name]
            changed = replace(of_arms, loss=replace(of_arms.loss, **arm.changes))
            source = _source(arm, scenario, changed, teacher)
            if source is not None:
                run = folder / f"{name}-{seed}"
                _check_same(run, changed, of_arm)
                start = teacher / WEIGHTS if go_on else None
                scores.setdefault(arm.title, []).append(_scores(run, changed, source, scenario, machine, start))
    text = table(scores, recipe, seeds, [*scenario.description(), *notes])
    replace_file(folder / "ablation.md", text.encode())
    replace_file(folder / "ablation.png", draw(scores))
    _log.info("%s", folder / "ablation.md")
    return text


def _source(arm: Arm, scenario: Scenario, recipe: Recipe, teacher: Path) -> Source | None:
    if arm.by == "labelled":
        return scenario.teacher(recipe)
    return scenario.oracle(recipe) if arm.by == "true" else scenario.student(recipe, teacher)


def _check_same(run: Path, recipe: Recipe, made_of: Mapping[str, str]) -> None:
    """Note what the run in ``run`` is made of, or raise ``TrainingError`` if it is there and of something else."""
    path = run / _MADE_OF
    others = list(_other_settings(run, recipe)) if (run / RECIPE).exists() else []
    if path.exists():
        before = msgspec.json.decode(path.read_bytes(), type=dict[str, str])
        others += [f"another {key}" for key in sorted(before.keys() | made_of) if before.get(key) != made_of.get(key)]
    elif not (run / _SCORES).exists():  # or it is of a release that did not note it
        run.mkdir(parents=True, exist_ok=True)
        replace_file(path, msgspec.json.encode(made_of))
    if others:
        what = "scores" if (run / _SCORES).exists() else "a run"
        raise TrainingError(f"{run} holds {what} made with {', '.join(others)}; name another folder with --to")


def _other_settings(run: Path, recipe: Recipe) -> Iterator[str]:
    before = read_run_recipe(run)
    there, here = msgspec.to_builtins(before), msgspec.to_builtins(recipe)
    for key in differences(before, recipe):
        section, _, name = key.partition(".")
        if key not in _CHANGE_NOTHING:
            old, new = (each[section].get(name) if name else each[section] for each in (there, here))
            yield f"{key} {json.dumps(old)} and not {json.dumps(new)}"


def _scores(
    run: Path, recipe: Recipe, source: Source, scenario: Scenario, machine: Machine, start_from: Path | None = None
) -> CaseScores:
    path = run / _SCORES
    if not path.exists():
        _log.info("%s", run)
        scores = fit(recipe, run, source, scenario.validation(recipe), machine, True, start_from)
        plain = {case: {str(label): [s.dsc, s.nsd] for label, s in organs.items()} for case, organs in scores.items()}
        replace_file(path, json.dumps(plain).encode())
    read: dict[str, dict[str, list[float]]] = json.loads(path.read_text(encoding="utf-8"))
    return {case: {int(label): OrganScore(*pair) for label, pair in organs.items()} for case, organs in read.items()}
