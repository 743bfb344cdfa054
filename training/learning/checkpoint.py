"""What a run folder holds: the recipe, the checkpoint that a run goes on from, and the weights that it ends with.

    recipe.toml               as run, with every value
    checkpoint.safetensors    both sets of weights, the optimiser's and the generator's state; counters and the data's
                              fingerprint are in the file's metadata. One file, replaced in one step: a stop at any
                              moment leaves the old one or the new one.
    environment.json          what it was trained on
    log.jsonl, tensorboard/   how it went
    weights.safetensors       the last, what to export: averaged, BatchNorm recalibrated
    snapshot-50/              recipe.toml and weights.safetensors as they were at that share (%) of the budget
    best/                     the same of the highest mean DSC on held-out cases, where these are scored on the way

A release keeps a network's weights, in half precision, as ``models/fine.safetensors`` with ``models/fine.recipe.toml``
beside them.

Everything is safetensors, JSON or TOML: nothing is ever unpickled.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import safetensors
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from training.errors import TrainingError
from training.learning.run_files import BEST, CHECKPOINT, LOG, RECIPE, WEIGHTS, replace_file
from training.network.attention_dmfnet import AttentionDMFNet
from training.recipe import Recipe, differences, parse_recipe, write_recipe

__all__ = ["BEST", "CHECKPOINT", "LOG", "RECIPE", "WEIGHTS", "replace_file"]

_RELEASED = ".safetensors"


MAY_CHANGE = ("run.epochs", "run.minutes", "run.checkpoint_every_s", "sampling.workers")
"""When a run is resumed: its budget, and what changes nothing that is learned."""


class CheckpointError(TrainingError):
    """A run folder whose files are missing, damaged or belong to something else."""


@dataclass(frozen=True)
class Trained:
    """A trained network in evaluation mode on the CPU, and the recipe that made it."""

    network: AttentionDMFNet
    recipe: Recipe


class Progress(msgspec.Struct, forbid_unknown_fields=True):
    """How far a run has come: steps taken, seconds spent, the losses of the epoch under way, the last step scored,
    whether BatchNorm has been frozen, the best mean DSC so far with the step (0: none) that reached it, the scale of
    the loss in float16 (0: not scaled), and what was used: CPU-seconds of one process, and joules of the GPUs (0: not
    counted). ``began_with`` is the SHA-256 of the file of weights that the run began with (empty: with none; None: not
    recorded, as up to release 0.9.0).
    """

    step: int = 0
    spent_s: float = 0.0
    epoch_losses: list[float] = []
    validated_step: int = 0
    norms_are_frozen: bool = False
    best_dsc: float = 0.0
    best_step: int = 0
    loss_scale: float = 0.0
    cpu_s: float = 0.0
    gpu_joules: float = 0.0
    began_with: str | None = None


def build_network(recipe: Recipe) -> AttentionDMFNet:
    """The recipe's network with fresh He-normal weights."""
    shape = recipe.network
    return AttentionDMFNet(shape.classes, shape.stem, shape.width, shape.groups, gates=shape.gates, units=shape.units)


def load_trained(run: Path) -> Trained:
    """The weights and the recipe of a finished run (or snapshot), or of a release's file of weights (.safetensors).

    Raises ``CheckpointError``, or ``RecipeError`` for the recipe itself.
    """
    recipe = read_run_recipe(run)
    network = build_network(recipe)
    path = run if run.suffix == _RELEASED else run / WEIGHTS
    if not path.is_file():
        hint = "; the run is not finished: go on with --resume" if (run / CHECKPOINT).exists() else ""
        raise CheckpointError(f"no {path.name} in {path.parent}{hint}")
    load_weights(network, path)
    return Trained(network.eval(), recipe)


def read_run_recipe(run: Path) -> Recipe:
    """The recipe of a run folder or a release's file of weights. Raises ``CheckpointError`` if there is none."""
    path = recipe_path(run)
    try:
        return parse_recipe(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        if run.suffix == _RELEASED:
            raise CheckpointError(f"no {path.name} beside {run}") from None
        raise CheckpointError(f"{run} is no run folder: it has no {RECIPE}") from None
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error


def check_resumable(run: Path, recipe: Recipe) -> None:
    """Raise ``CheckpointError`` if ``recipe`` is another than that of the run in ``run``, but for ``MAY_CHANGE``."""
    changed = [key for key in differences(recipe, read_run_recipe(run)) if key not in MAY_CHANGE]
    if changed:
        raise CheckpointError(
            f"{run} was begun with other values of {', '.join(changed)}; of a resumed run only the budget (run.epochs "
            "or run.minutes) may change: leave out --recipe and --set, or start a new run with --start-from"
        )


def content_of(weights: Path | None) -> str:
    """The SHA-256 of a file that a run begins with; empty if there is none."""
    return "" if weights is None else hashlib.sha256(weights.read_bytes()).hexdigest()


def check_beginning(run: Path, progress: Progress, start_from: Path | None) -> None:
    """Raise ``CheckpointError`` if the run in ``run`` is known to have begun with other weights than ``start_from``.

    It goes on from its checkpoint, so the file may be gone; then it is taken for the one that the run began with.
    """
    began_with = progress.began_with
    if start_from is None or began_with is None or (began_with and not start_from.exists()):
        return
    try:
        is_same = began_with != "" and began_with == content_of(start_from)
    except OSError as error:
        raise CheckpointError(f"cannot read {start_from}: {error.strerror}") from error
    if not is_same:
        how = "other weights than" if began_with else "fresh weights, not"
        raise CheckpointError(
            f"{run} was begun with {how} {start_from}; leave out --start-from to go on with it, or start a new "
            "run in another folder"
        )


def recipe_path(run: Path) -> Path:
    """Where the recipe of a run folder, or of a release's file of weights, lies."""
    return run.with_suffix(f".{RECIPE}") if run.suffix == _RELEASED else run / RECIPE


def load_weights(network: nn.Module, path: Path) -> None:
    """Fill ``network`` from a safetensors file, in its own precision whatever the file's is.

    Raises ``CheckpointError`` if it is another network's.
    """
    try:
        network.load_state_dict(safetensors.torch.load_file(path))
    except FileNotFoundError:
        raise CheckpointError(f"no weights at {path}") from None
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot read {path}: {_first_lines(error)}") from error
    except RuntimeError as error:  # load_state_dict's list of names and shapes that do not fit
        raise CheckpointError(f"{path} does not fit the recipe's network: {_first_lines(error)}") from error


def save_trained(run: Path, network: nn.Module, recipe: Recipe) -> None:
    """Write what ``load_trained`` reads, weights last: a folder with weights is whole."""
    run.mkdir(parents=True, exist_ok=True)
    replace_file(run / RECIPE, write_recipe(recipe).encode())
    replace_file(run / WEIGHTS, safetensors.torch.save(_contiguous(network.state_dict())))


def save_checkpoint(
    run: Path,
    network: nn.Module,
    averaged: nn.Module,
    optimiser: torch.optim.Optimizer,
    progress: Progress,
    data: Mapping[str, str],
) -> None:
    """Replace the run's checkpoint in one step; ``data`` is the fingerprint of what it is trained on.

    BatchNorm's statistics are taken from ``averaged``, which has them as they were after the last whole step: a step
    under way changes those of ``network``.
    """
    tensors = {f"network.{key}": value for key, value in network.state_dict().items()}
    # copies: safetensors keeps no tensor twice
    tensors |= {f"network.{key}": value.clone() for key, value in averaged.named_buffers()}
    tensors |= {f"averaged.{key}": value for key, value in averaged.state_dict().items()}
    tensors |= {f"optimiser.{key}": value for key, value in _optimiser_tensors(optimiser).items()}
    tensors["generator"] = torch.get_rng_state()
    metadata = {"progress": msgspec.json.encode(progress).decode(), "data": json.dumps(dict(data), sort_keys=True)}
    replace_file(run / CHECKPOINT, safetensors.torch.save(_contiguous(tensors), metadata))


def load_checkpoint(
    run: Path, network: nn.Module, averaged: nn.Module, optimiser: torch.optim.Optimizer, data: Mapping[str, str]
) -> Progress:
    """Put everything back as ``save_checkpoint`` found it, and return how far the run had come.

    Raises ``CheckpointError`` if there is none, it is damaged, or the data it was trained on have changed.
    """
    path = run / CHECKPOINT
    if not path.is_file():
        raise CheckpointError(f"no {CHECKPOINT} in {run} to resume from; start the run without --resume")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
        tensors = safetensors.torch.load_file(path)
        progress = msgspec.json.decode(metadata["progress"], type=Progress)
        trained_on = msgspec.json.decode(metadata["data"], type=dict[str, str])
    except (OSError, SafetensorError, KeyError, ValueError, msgspec.MsgspecError) as error:
        raise CheckpointError(
            f"{path} is damaged ({_first_lines(error)}); start the run anew in another folder"
        ) from error
    if trained_on != dict(data):
        changed = sorted(key for key in trained_on.keys() | data.keys() if trained_on.get(key) != data.get(key))
        raise CheckpointError(
            f"{path} was trained on other data ({', '.join(changed)} differ); resume with the same data, "
            "or start a new run with --start-from"
        )
    try:
        network.load_state_dict(_below(tensors, "network."))
        averaged.load_state_dict(_below(tensors, "averaged."))
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit {run / RECIPE}: {_first_lines(error)}") from error
    try:
        _restore_optimiser(optimiser, _below(tensors, "optimiser."))
        torch.set_rng_state(tensors["generator"])
    except (KeyError, IndexError, ValueError, RuntimeError, TypeError) as error:
        raise CheckpointError(
            f"{path} is damaged ({_first_lines(error)}); start the run anew in another folder"
        ) from error
    return progress


def _contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.detach().cpu().contiguous() for key, value in tensors.items()}


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """``{parameter number}.{name}`` of every tensor that the optimiser keeps; its settings are the recipe's."""
    state: dict[int, dict[str, Any]] = optimiser.state_dict()["state"]
    return {
        f"{number}.{name}": value
        for number, entry in state.items()
        for name, value in entry.items()
        if isinstance(value, Tensor)
    }


def _restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    for key, value in tensors.items():
        number, _, name = key.partition(".")
        parameter = parameters[int(number)]
        if value.shape == parameter.shape:
            # in the parameter's own memory format, as the optimiser itself makes it
            value = torch.empty_like(parameter, device="cpu").copy_(value)
        state.setdefault(int(number), {})[name] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def _first_lines(error: Exception, count: int = 3) -> str:
    return " ".join(line.strip() for line in str(error).splitlines()[:count])
