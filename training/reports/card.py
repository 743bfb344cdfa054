"""``python -m training card``: the protocol table that the challenge's paper template asks for, filled from a run."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

import msgspec
import safetensors
from safetensors import SafetensorError

from training.learning.checkpoint import CHECKPOINT, LOG, CheckpointError, Progress, build_network, read_run_recipe
from training.learning.environment import Environment, read_environment
from training.learning.run_files import read_log
from training.network.size import convolution_macs, parameters
from training.recipe import SGD, Recipe

_log = logging.getLogger(__name__)

_WATTS_PER_THREAD = 15.0
"""A server CPU's design power over its hardware threads, memory and supply included: 10 to 20 W."""

_GRAMS_PER_KWH = 475.0
"""The world's average for electricity (IEA, 2019)."""

Rows = list[tuple[str, str]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of ``card``."""
    parser.add_argument("run", metavar="RUN", type=Path, help="the folder of a run")
    parser.add_argument("--to", metavar="MD", type=Path, help="a Markdown file; default: card.md in the run's folder")
    parser.add_argument("--watts", type=float, help="mean power of what trained; default: estimated from the machine")
    parser.add_argument(
        "--grams-per-kwh",
        type=float,
        default=_GRAMS_PER_KWH,
        help=f"CO2; default: {_GRAMS_PER_KWH:g}",
    )


def card(options: argparse.Namespace) -> int:
    """Write the card; returns the exit status."""
    path = options.to if options.to is not None else options.run / "card.md"
    path.write_text(describe_run(options.run, options.watts, options.grams_per_kwh), encoding="utf-8")
    _log.info("%s", path)
    return 0


def describe_run(run: Path, watts: float | None = None, grams_per_kwh: float = _GRAMS_PER_KWH) -> str:
    """The tables of a run in Markdown. Raises ``CheckpointError`` or ``RecipeError`` if it is none."""
    recipe = read_run_recipe(run)
    progress, data = _read_progress(run)
    environment = read_environment(run)
    parts = [f"# Training protocol: the {recipe.stage} stage", _table(_protocol(recipe, progress))]
    parts += ["## Energy", _table(_energy(progress, environment, watts, grams_per_kwh))]
    if environment is not None:
        parts += ["## Environment", _table(_environment(environment))]
    parts += ["## Data", _table(sorted(data.items()))]
    final = [row for row in read_log(run / LOG) if row.get("final")] if (run / LOG).exists() else []
    if final:
        parts += [f"## Validation, {final[-1]['cases']} cases", _scores(final[-1])]
    return "\n\n".join(parts) + "\n"


def _protocol(recipe: Recipe, progress: Progress) -> Rows:
    how, tile = recipe.run, recipe.grid.tile_zyx
    network = build_network(recipe)
    learned = parameters(network)
    macs = convolution_macs(network, (1, 1, *tile))
    budget = f"{how.epochs} epochs" if how.epochs else f"{how.minutes:g} minutes"
    epochs = progress.step / how.steps_per_epoch
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
        ("Total epochs", f"{epochs:g} of {how.steps_per_epoch} steps, {progress.step} steps in all"),
        ("Optimiser", f"{name}, weight decay {optimiser.weight_decay:g}"),
        ("Initial learning rate", f"{optimiser.learning_rate:g}"),
        ("Learning rate schedule", _schedule(recipe)),
        ("Loss", _loss(recipe)),
        ("Precision", how.precision),
        ("Averaged weights", f"decay {how.ema:g} a step" if how.ema else "none"),
        ("Training time", f"{progress.spent_s / 3600:.2f} hours"),
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
    return f"Dice + cross-entropy{weights}; on pseudo labels: {robust}, times {how.pseudo_weight:g}"


def _energy(progress: Progress, environment: Environment | None, watts: float | None, grams_per_kwh: float) -> Rows:
    if watts is not None:
        source = "as given"
    elif environment is not None:
        watts = _WATTS_PER_THREAD * environment.threads * environment.processes + (environment.gpu_watts or 0.0)
        source = f"an estimate: {_WATTS_PER_THREAD:g} W a CPU thread in use, and the GPUs' power limit"
    else:
        return [("Energy", "unknown: the run recorded no environment; give --watts")]
    kwh = watts * progress.spent_s / 3.6e6
    return [
        ("Mean power", f"{watts:.0f} W ({source})"),
        ("Energy", f"{kwh:.3f} kWh"),
        ("CO2", f"{kwh * grams_per_kwh:.0f} g at {grams_per_kwh:g} g/kWh"),
    ]


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


def _read_progress(run: Path) -> tuple[Progress, dict[str, str]]:
    path = run / CHECKPOINT
    if not path.exists():
        raise CheckpointError(f"no {CHECKPOINT} in {run}; the run has not begun, or was tidied up")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
        return msgspec.json.decode(metadata["progress"], type=Progress), json.loads(metadata["data"])
    except (SafetensorError, OSError, KeyError, ValueError, msgspec.MsgspecError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
