"""``python -m training run``: the whole of the paper in one command, from raw folders to models and their cards."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from training.errors import TrainingError
from training.paper.carry_out import carry_out, is_worked_on, read_records
from training.paper.start_checks import check_at_start
from training.paper.status import as_page
from training.paper.steps import EACH, Protocol

_LOSSES = ("generalised", "symmetric", "beta", "cross-entropy")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of ``run``."""
    parser.add_argument("recipe", metavar="RECIPE", nargs="?", help="a recipe's name, or the path of a .toml file")
    parser.add_argument(
        "--data", metavar="RAW", type=Path, nargs="+", default=[], help="folders of scans, as `prepare`"
    )
    parser.add_argument("--to", metavar="DIR", type=Path, required=True, help="gets everything")
    parser.add_argument("--status", action="store_true", help="only tell how far everything is")
    parser.add_argument(
        "--fold", default=EACH, metavar="FOLD",
        help="`each`: a teacher for each fold, which label together (default); `all`: one that holds out nobody; or N",
    )  # fmt: skip
    parser.add_argument("--folds", type=int, default=5, help="folds for cross-validation; default: 5")
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], dest="changes", help="change the recipe, as in fit"
    )
    parser.add_argument(
        "--pseudo", metavar="PSEUDO", type=Path, nargs="+", action="extend", default=[],
        help="pseudo labels that are there already, as `pseudo-label` makes them: no teacher is trained",
    )  # fmt: skip
    parser.add_argument("--selection", metavar="TOML", type=Path, help="thresholds, as in pseudo-label")
    parser.add_argument("--pseudo-loss", choices=_LOSSES, default=_LOSSES[0], help=f"default: {_LOSSES[0]}")
    parser.add_argument("--accelerator", choices=["auto", "cpu", "cuda"], default="auto", help="default: auto")
    parser.add_argument(
        "--devices", default="auto", help="how many are trained on; default: as many GPUs as share the batch evenly"
    )
    parser.add_argument(
        "--at-once",
        type=int,
        default=1,
        metavar="N",
        help="teachers trained, and shares of the scans labelled, at once, each on a GPU of its own; default: 1",
    )
    parser.add_argument(
        "--weights", choices=["last", "best"], default="last",
        help="which are exported: the last, or those of the highest mean DSC on held-out cases; default: last",
    )  # fmt: skip
    parser.add_argument("--threads", type=int, help="CPU threads of each training process")
    parser.add_argument("--workers", type=int, help="processes that prepare; default: one a CPU")


def run(options: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    to: Path = options.to
    if options.status:
        records = read_records(to)
        if records is None:
            raise TrainingError(f"nothing was begun in {to} yet")
        for record in records.steps.values():
            if record.state == "begun" and not is_worked_on(to):
                record.said = "stopped"
        print(as_page(to, records.typed, list(records.steps.values())))
        return 0
    if options.recipe is None or not options.data:
        raise TrainingError("name a recipe and folders of scans: python -m training run flare22 --data RAW --to DIR")
    if options.at_once < 1:
        raise TrainingError(f"--at-once {options.at_once} trains nothing; write 1 or more")
    if options.fold not in (EACH, "all") and not options.fold.isdecimal():
        raise TrainingError(f"--fold {options.fold} is no fold; write each, all, or a number from 0 on")
    fit_how = ["--accelerator", options.accelerator, "--devices", options.devices]
    fit_how += [] if options.threads is None else ["--threads", str(options.threads)]
    # the same, from whatever folder it is typed
    for name in ("to", "selection"):
        setattr(options, name, getattr(options, name) and getattr(options, name).resolve())
    for name in ("data", "pseudo"):
        setattr(options, name, [path.resolve() for path in getattr(options, name)])
    if options.recipe.endswith(".toml"):
        options.recipe = str(Path(options.recipe).resolve())
    check_at_start(options)
    protocol = Protocol(
        options.recipe,
        tuple(options.data),
        options.to,
        options.fold,
        options.folds,
        tuple(options.changes),
        tuple(options.pseudo),
        options.selection,
        options.pseudo_loss,
        tuple(fit_how),
        ("--device", options.accelerator),
        () if options.workers is None else ("--workers", str(options.workers)),
        options.at_once,
        options.weights,
    )
    carry_out(protocol, _typed(options))
    return 0


def _typed(options: argparse.Namespace) -> str:
    """The command, for a shell."""
    words = ["python", "-m", "training", "run", options.recipe, "--data", *map(str, options.data)]
    words += ["--to", str(options.to), "--fold", options.fold, "--folds", str(options.folds)]
    words += [word for change in options.changes for word in ("--set", change)]
    words += ["--pseudo", *map(str, options.pseudo)] if options.pseudo else []
    words += ["--selection", str(options.selection)] if options.selection else []
    words += ["--pseudo-loss", options.pseudo_loss, "--accelerator", options.accelerator]
    words += ["--devices", options.devices, "--at-once", str(options.at_once), "--weights", options.weights]
    words += [] if options.threads is None else ["--threads", str(options.threads)]
    words += [] if options.workers is None else ["--workers", str(options.workers)]
    return shlex.join(words)
