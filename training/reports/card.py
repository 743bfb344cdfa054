"""``python -m training card``: the tables that the challenge's paper template asks for, filled from runs.

Of one run its protocol, energy, environment, data and scores; of a coarse and a fine one together Tables 1 to 3 as the
template has them. The best weights and the snapshots of a run are described by what the run recorded. A release's file
of weights, or a mean of runs, has a recipe alone: what only a run knows is said to be unknown.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import safetensors
from safetensors import SafetensorError

from training.errors import TrainingError
from training.learning.checkpoint import CheckpointError, Progress, build_network, read_run_recipe
from training.learning.environment import Environment, read_environment
from training.learning.run_files import BEST, CHECKPOINT, LOG, WEIGHTS, read_log
from training.network.size import convolution_macs, parameters
from training.recipe import SGD, Recipe, Stage
from training.reports.energy import GRAMS_PER_KWH, Rows, energy_rows

_log = logging.getLogger(__name__)

_UNKNOWN = "not recorded with these weights"
_SNAPSHOT = re.compile(r"snapshot-(\d+)")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of ``card``."""
    parser.add_argument(
        "runs", metavar="RUN", type=Path, nargs="+",
        help="any folder or file that `export` takes; a coarse and a fine one: the paper's Tables 1 to 3",
    )  # fmt: skip
    parser.add_argument("--to", metavar="MD", type=Path, help="a Markdown file; default: card.md in the run's folder")
    parser.add_argument("--watts", type=float, help="mean power of what trained; default: what was counted, or limits")
    parser.add_argument(
        "--grams-per-kwh",
        type=float,
        default=GRAMS_PER_KWH,
        help=f"CO2 of the electricity; default: {GRAMS_PER_KWH:g}, the world's average",
    )


def card(options: argparse.Namespace) -> int:
    """Write the card; returns the exit status."""
    runs: list[Path] = options.runs
    if len(runs) > 2:
        raise TrainingError(f"name one run, or a coarse and a fine one, not {len(runs)}")
    text = "\n".join(describe_run(run, options.watts, options.grams_per_kwh) for run in runs)
    if len(runs) == 2:
        text = f"{paper_tables(runs, options.watts, options.grams_per_kwh)}\n{text}"
    path = options.to
    if path is None:
        path = runs[-1] / "card.md" if runs[-1].is_dir() else runs[-1].with_suffix(".card.md")
    path.write_text(text, encoding="utf-8")
    _log.info("%s", path)
    return 0


def paper_tables(runs: Sequence[Path], watts: float | None = None, grams_per_kwh: float = GRAMS_PER_KWH) -> str:
    """Tables 1 to 3 of the paper's template of a coarse and a fine run, in whichever order.

    Raises ``TrainingError`` unless there is one of each.
    """
    by_stage = {read_run_recipe(run).stage: run for run in runs}
    if set(by_stage) != {"coarse", "fine"}:
        raise TrainingError(f"both runs are of the {next(iter(by_stage))} stage; name a coarse and a fine one")
    known_of = {stage: _recorded(run) for stage, run in by_stage.items()}
    environment = known_of["fine"].environment
    parts = ["# The paper's tables", "Table 1. Development environments and requirements."]
    parts.append(_table(_template_environment(environment)) if environment else f"The machine was {_UNKNOWN}.")
    titles: dict[Stage, str] = {
        "coarse": "Table 2. Training protocols.",
        "fine": "Table 3. Training protocols for the refine model.",
    }
    for stage, title in titles.items():
        of_run = known_of[stage]
        known = dict(_protocol(read_run_recipe(by_stage[stage]), of_run))
        rows = [(template, known[ours]) for template, ours in _TEMPLATE.items()]
        energy = dict(energy_rows(of_run.progress, of_run.environment, watts, grams_per_kwh))
        rows.append(("CO2eq", energy.get("CO2", energy["Energy"])))
        parts += [title, _table(rows)]
    return "\n\n".join(parts) + "\n"


_TEMPLATE = {
    "Network initialization": "Network initialisation",
    "Batch size": "Batch size",
    "Patch size": "Patch size (z, y, x)",
    "Total epochs": "Total epochs",
    "Optimizer": "Optimiser",
    "Initial learning rate (lr)": "Initial learning rate",
    "Lr decay schedule": "Learning rate schedule",
    "Training time": "Training time",
    "Loss function": "Loss",
    "Number of model parameters": "Number of parameters",
    "Number of flops": "Number of FLOPs",
}
"""The template's rows, and what the table of a run calls them."""


def _template_environment(environment: Environment) -> Rows:
    known = dict(_environment(environment))
    packages = environment.packages
    others = ", ".join(f"{name} {number}" for name, number in packages.items() if name != "torch")
    return [
        ("System", known["System"]),
        ("CPU", known["CPU"]),
        ("RAM", known["RAM"]),
        ("GPU (number and type)", f"{len(environment.gpus)}: {known['GPU']}" if environment.gpus else "none"),
        ("CUDA version", environment.cuda or "none"),
        ("Programming language", f"Python {environment.python}"),
        ("Deep learning framework", f"PyTorch {packages.get('torch', 'unknown')}"),
        ("Specific dependencies", others),
    ]


def describe_run(run: Path, watts: float | None = None, grams_per_kwh: float = GRAMS_PER_KWH) -> str:
    """The tables of a run in Markdown. Raises ``CheckpointError`` or ``RecipeError`` if it is none."""
    recipe, known = read_run_recipe(run), _recorded(run)
    parts = [f"# Training protocol: the {recipe.stage} stage", _table(_protocol(recipe, known))]
    parts += ["## Energy", _table(energy_rows(known.progress, known.environment, watts, grams_per_kwh))]
    if known.environment is not None:
        parts += ["## Environment", _table(_environment(known.environment))]
    if known.data:
        parts += ["## Data", _table(sorted(known.data.items()))]
    if known.scores is not None:
        parts += [f"## Validation, {known.scores['cases']} cases", _scores(known.scores)]
    return "\n\n".join(parts) + "\n"


def _protocol(recipe: Recipe, known: _Recorded) -> Rows:
    how, tile = recipe.run, recipe.grid.tile_zyx
    network = build_network(recipe)
    learned = parameters(network)
    macs = convolution_macs(network, (1, 1, *tile))
    budget = f"{how.epochs} epochs" if how.epochs else f"{how.minutes:g} minutes"
    epochs = hours = _UNKNOWN
    progress = known.progress
    if progress is not None:
        epochs = f"{progress.step / how.steps_per_epoch:g} of {how.steps_per_epoch} steps, {progress.step} steps in all"
        hours = f"{progress.spent_s / 3600:.2f} hours"
    optimiser = recipe.optimiser
    name = "AdamW"
    if isinstance(optimiser, SGD):
        name = f"SGD, momentum {optimiser.momentum:g}{', Nesterov' if optimiser.nesterov else ''}"
    return [
        ("Network", f"Attention DMFNet, {_settings(recipe)}"),
        ("Network initialisation", "He normal"),
        ("Batch size", f"{how.batch}"),
        ("Patch size (z, y, x)", " x ".join(map(str, tile)) + " voxels"),
        ("Spacing (z, y, x)", " x ".join(f"{mm:g}" for mm in recipe.grid.spacing_zyx) + " mm"),
        ("Budget", budget),
        ("Total epochs", epochs),
        ("Optimiser", f"{name}, weight decay {optimiser.weight_decay:g}"),
        ("Initial learning rate", f"{optimiser.learning_rate:g}"),
        ("Learning rate schedule", _schedule(recipe)),
        ("Loss", _loss(recipe)),
        ("Precision", how.precision),
        ("Weights", known.which),
        ("Averaged weights", f"decay {how.ema:g} a step" if how.ema else "none"),
        ("Training time", hours),
        ("Number of parameters", f"{learned / 1e6:.2f} M"),
        ("Number of FLOPs", f"{2 * macs / 1e9:.1f} G for a patch ({macs / 1e9:.1f} G multiply-accumulates)"),
    ]


def _settings(recipe: Recipe) -> str:
    shape = recipe.network
    gates = "attention gates" if shape.gates else "no gates"
    return f"stem {shape.stem}, width {shape.width}, {shape.groups} groups, {shape.classes} classes, {gates}"


def _schedule(recipe: Recipe) -> str:
    how = recipe.schedule
    shape = {
        "cosine": "cosine to 0 over the budget",
        "halving": f"halved every {how.halve_every_epochs} epochs",
        "constant": "constant",
    }[how.shape]
    return shape + (f", {how.warm_up_steps} steps of warm-up" if how.warm_up_steps else "")


def _loss(recipe: Recipe) -> str:
    how = recipe.loss
    settings: dict[str, object] = msgspec.to_builtins(how.pseudo)
    robust = ", ".join([str(settings.pop("name")), *(f"{name} {value}" for name, value in settings.items())])
    weights = ", weighted by class" if how.class_weights else ""
    if how.edge_weight != 1:
        weights += f", edges times {how.edge_weight:g}"
    overlap = f"Tversky, beta {' '.join(f'{beta:g}' for beta in how.tversky_beta)}" if how.tversky_beta else "Dice"
    dice = f"noise-robust Dice, gamma {how.pseudo_dice_gamma:g}" if how.pseudo_dice_gamma else overlap
    dice += f" times {how.pseudo_dice_weight:g}" if how.pseudo_dice_weight != 1 else ""
    return f"{overlap} + cross-entropy{weights}; on pseudo labels: {dice} + {robust}, times {how.pseudo_weight:g}"


def _environment(environment: Environment) -> Rows:
    gpus = ", ".join(environment.gpus) or "none"
    return [
        ("System", environment.system),
        ("CPU", f"{environment.cpu}; {environment.processes} x {environment.threads} threads used"),
        ("RAM", f"{environment.ram_gib:g} GiB"),
        ("GPU", gpus + (f", CUDA {environment.cuda}" if environment.cuda else "")),
        ("Python", environment.python),
        ("Packages", ", ".join(f"{name} {number}" for name, number in environment.packages.items())),
    ]


def _scores(row: dict[str, object]) -> str:
    dsc, nsd = row["dsc"], row["nsd"]
    assert isinstance(dsc, dict)
    assert isinstance(nsd, dict)
    lines = ["| organ | DSC | NSD |", "|---|---|---|"]
    lines += [f"| {organ} | {dsc[organ]:.4f} | {nsd[organ]:.4f} |" for organ in dsc]
    lines.append(f"| mean | {row['mean_dsc']:.4f} | {row['mean_nsd']:.4f} |")
    return "\n".join(lines)


def _table(rows: Rows) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


@dataclass(frozen=True)
class _Recorded:
    """What a run told of its weights, and ``which`` of them these are; of weights alone nothing is known."""

    progress: Progress | None = None
    data: dict[str, str] = field(default_factory=dict)
    environment: Environment | None = None
    which: str = _UNKNOWN
    scores: dict[str, object] | None = None
    """The row of the log that tells how good these weights are, where they were scored."""


def _recorded(run: Path) -> _Recorded:
    """What is known of the weights in ``run``: by itself if it is a run's folder, by the run if it lies in one.

    Raises ``CheckpointError`` if it holds neither a run nor weights, or is damaged.
    """
    snapshot = _SNAPSHOT.fullmatch(run.name)
    is_within = (run.name == BEST or snapshot is not None) and (run.parent / CHECKPOINT).exists()
    home = run.parent if is_within and not (run / CHECKPOINT).exists() else run
    if not (home / CHECKPOINT).exists():
        if run.is_file() or (run / WEIGHTS).is_file():
            return _Recorded(environment=read_environment(run))
        raise CheckpointError(f"neither {CHECKPOINT} nor {WEIGHTS} in {run}; the run has not begun")
    progress, data = _read_checkpoint(home / CHECKPOINT)
    rows = [row for row in read_log(home / LOG) if "mean_dsc" in row] if (home / LOG).exists() else []
    which = "the last"
    if home == run:
        rows = [row for row in rows if row["final"]]
    elif snapshot is None:
        which = f"the best of the run by mean DSC on held-out cases, of step {progress.best_step}"
        rows = [row for row in rows if row["step"] == progress.best_step]
    else:
        which, rows = f"as they were at {snapshot[1]} % of the budget", []
    return _Recorded(progress, data, read_environment(home), which, rows[-1] if rows else None)


def _read_checkpoint(path: Path) -> tuple[Progress, dict[str, str]]:
    """How far a run came and what it was trained on."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
        return msgspec.json.decode(metadata["progress"], type=Progress), json.loads(metadata["data"])
    except (SafetensorError, OSError, KeyError, ValueError, msgspec.MsgspecError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
