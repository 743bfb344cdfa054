"""The options that many machines add to those of ``predict``."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from attention_dmfnet.cli import predict as engine

from cluster.dispatch import Rules
from cluster.ledger import LEDGER_NAME
from cluster.places import place
from cluster.ray_crew import Needs


def add_options(command: argparse.ArgumentParser) -> None:
    """Those of ``predict``, whose places may be URLs here, and those of the machines."""
    engine.add_options(command)
    command.usage = "%(prog)s INPUTS OUTPUTS [options]"
    command.description = (
        "Label the organs in scans on many machines. INPUTS and OUTPUTS are folders that all of them see, or URLs "
        "(s3://bucket/scans). A stopped run goes on where it was; what is done is not done again."
    )
    command.epilog = None
    for action in command._actions:
        if action.dest in ("inputs", "outputs"):
            action.type = place
    group = command.add_argument_group("machines")
    add_address_option(group)
    group.add_argument("--workers", metavar="N", type=_count, help="default: as many as the machines have room for")
    group.add_argument("--worker-cpus", metavar="N", type=_count, default=1, help="of each worker")
    group.add_argument(
        "--worker-gpus",
        metavar="SHARE",
        type=float,
        default=0.0,
        help="of each worker, such as 0.25; with --device cuda",
    )
    group.add_argument(
        "--worker-memory-mb", metavar="MB", type=_count, default=1500, help="that Ray reserves for each worker"
    )
    group.add_argument(
        "--attempts", metavar="N", type=_count, default=3, help="give a case up whose worker was lost so many times"
    )
    group.add_argument(
        "--slow-factor",
        metavar="X",
        type=float,
        default=3.0,
        help="at the end, give a case to another worker too that takes X times as long as the median; 0: never",
    )
    group.add_argument(
        "--ledger",
        metavar="FILE",
        type=Path,
        help=f"what is done, on a disk of this machine itself; default: {LEDGER_NAME} in OUTPUTS",
    )
    group.add_argument(
        "--staging",
        metavar="DIR",
        type=Path,
        default=Path(tempfile.gettempdir()),
        help="where each worker keeps scans from a URL as long as it labels them",
    )
    group.add_argument(
        "--staging-mb", metavar="MB", type=_count, default=4096, help="most that a worker keeps there at a time"
    )


def add_address_option(group: argparse._ActionsContainer, name: str = "--address") -> None:
    """Where Ray is."""
    group.add_argument(
        name, metavar="ADDRESS", help="of a running Ray, `auto` for this machine's; default: start one here"
    )


def needs_of(options: argparse.Namespace) -> Needs:
    """What each worker takes."""
    return Needs(options.worker_cpus, options.worker_gpus, options.worker_memory_mb)


def rules_of(options: argparse.Namespace) -> Rules:
    """How cases are given out; with a time limit one at a time, so that no case's time is another's waiting."""
    each = 1 if options.case_timeout else 2
    return Rules(options.workers or 0, each, options.attempts, options.slow_factor)


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number above 0")
    return number
