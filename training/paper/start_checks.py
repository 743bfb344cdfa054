"""What would end ``python -m training run`` after days of training is asked before anything is trained."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from training.data.pseudo_folder import read_selected
from training.errors import TrainingError
from training.pseudo.selection import read_selection
from training.recipe import STAGES, Recipe, load_recipe


def check_at_start(options: argparse.Namespace) -> None:
    """Raise ``TrainingError`` for options of ``run`` that a later step would refuse."""
    fold = ['run.fold="all"'] if options.fold == "all" else []
    recipes = [load_recipe(options.recipe, stage, [*options.changes, *fold]) for stage in STAGES]
    if options.selection is not None:
        read_selection(options.selection)
    for folder in options.pseudo:
        read_selected(folder)
    if options.weights == "best":
        _check_scored_on_the_way(recipes, options)
    if options.at_once > 1 and options.accelerator != "cpu":
        _check_gpus(options.at_once, options.accelerator)


def _check_scored_on_the_way(recipes: Sequence[Recipe], options: argparse.Namespace) -> None:
    if options.fold == "all":
        raise TrainingError("--weights best needs held-out cases to choose by, and --fold all has none; leave out one")
    for recipe in recipes:
        how, stage = recipe.run, recipe.stage
        every = how.validate_every_epochs
        if not (every and how.validation_cases):
            raise TrainingError(
                f"--weights best needs scores on the way, which {options.recipe} does not take for the {stage} stage; "
                "add --set run.validate_every_epochs=50 --set run.validation_cases=10, for example"
            )
        if how.epochs and every >= how.epochs:
            raise TrainingError(
                f"--weights best needs scores on the way, but the first of the {stage} stage would come after {every} "
                f"epochs, of {how.epochs}; lower run.validate_every_epochs with --set"
            )


def _check_gpus(at_once: int, accelerator: str) -> None:
    """Whether each of so many processes gets a GPU; ``auto`` is the CPU where there is none."""
    import torch  # here: for nothing else does `run` need it

    gpus = torch.cuda.device_count()
    if at_once > gpus and (gpus or accelerator == "cuda"):
        raise TrainingError(
            f"--at-once {at_once} gives each process a GPU of its own, and the number of GPUs here is {gpus}; "
            f"write {f'--at-once {gpus}, or ' if gpus else ''}--accelerator cpu"
        )
