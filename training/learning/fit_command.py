"""``python -m training fit``: the command line of the training loop."""

from __future__ import annotations

import argparse
from pathlib import Path

from training.learning.checkpoint import CHECKPOINT, RECIPE, check_resumable
from training.recipe import STAGES, Recipe, RecipeError, load_recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of ``fit``."""
    parser.add_argument("--recipe", metavar="NAME", help="a recipe's name, or the path of a .toml file")
    parser.add_argument("--stage", choices=STAGES, help="which stage; may be left out if the recipe names one")
    parser.add_argument("--to", metavar="RUN", type=Path, required=True, help="the folder of the run")
    parser.add_argument("--data", metavar="DATASET", type=Path, nargs="+", default=[], help="folders made by `prepare`")
    parser.add_argument("--bodies", metavar="DIR", type=Path, help="the folder made by `synthesize`, to paint from")
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], dest="changes",
        help="change the recipe, such as run.minutes=30; may be repeated",
    )  # fmt: skip
    parser.add_argument("--fold", metavar="N", help="held out for validation; `all`: nobody; default: the recipe's, 0")
    parser.add_argument(
        "--resume", action="store_true",
        help="go on from the run's checkpoint, if there is one; only the budget may change",
    )  # fmt: skip
    parser.add_argument(
        "--start-from", metavar="WEIGHTS", type=Path,
        help="weights (.safetensors) to begin with; not read again with --resume, but another file is refused",
    )  # fmt: skip
    parser.add_argument("--accelerator", choices=["auto", "cpu", "cuda"], default="auto", help="default: auto")
    parser.add_argument(
        "--devices", default="auto",
        help="how many per node; default: as many GPUs as share the batch evenly, or one CPU process",
    )  # fmt: skip
    parser.add_argument("--nodes", type=int, default=1, help="machines, each started with torchrun; default: 1")
    parser.add_argument("--threads", type=int, help="CPU threads of each process; default: as many as it may use")


def fit_command(options: argparse.Namespace) -> int:
    """Train as the options say; returns the exit status."""
    recipe = _recipe(options)
    import torch.distributed as dist
    from attention_dmfnet.cpus import available_cpus

    from training.learning.fit import Machine, fit
    from training.learning.source import open_bodies, open_sources
    from training.learning.validation import painted_cases, whole_cases

    source, held_out = open_sources(recipe, options.data, options.bodies)
    how = recipe.run
    validation = whole_cases(held_out[: how.validation_cases])
    if not options.data and how.validation_cases:
        painted = open_bodies(options.bodies, recipe, held_out=True)
        validation = painted_cases(painted, how.validation_cases, recipe.network.classes, how.seed)
    devices = int(options.devices) if options.devices.isdigit() else options.devices
    machine = Machine(options.accelerator, devices, options.nodes, options.threads or available_cpus())
    fit(recipe, options.to, source, validation, machine, options.resume, options.start_from)
    if dist.is_initialized():
        # torch's threads for talking to the other processes, left alone, may abort this one as it ends
        dist.destroy_process_group()
    return 0


def _recipe(options: argparse.Namespace) -> Recipe:
    """The recipe that is named, or that of the run to go on with."""
    changes = options.changes if options.fold is None else [*options.changes, f"run.fold={_fold(options.fold)}"]
    begun = options.resume and (options.to / CHECKPOINT).exists()
    if options.recipe is None and not begun:
        where = f"; there is no run in {options.to} yet" if options.resume else ""
        raise RecipeError(f"name a recipe: --recipe small, for example{where}")
    name = options.to / RECIPE if options.recipe is None else options.recipe
    recipe = load_recipe(name, options.stage, changes, is_begun=begun)
    if begun:
        check_resumable(options.to, recipe)
    return recipe


def _fold(text: str) -> str:
    """A fold as TOML has it."""
    return text if text.isdecimal() else f'"{text}"'
