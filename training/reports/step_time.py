"""``python -m training step-time``: what the parts of a training step cost, by a recipe, on this machine's CPU."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

from training.recipe import load_recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of ``step-time``."""
    parser.add_argument("--recipe", metavar="NAME", required=True, help="a recipe's name, or the path of a .toml file")
    parser.add_argument("--bodies", metavar="DIR", type=Path, required=True, help="the folder made by `synthesize`")
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], dest="changes",
        help="change the recipe, such as run.precision=\"float32\"; may be repeated",
    )  # fmt: skip
    parser.add_argument("--start-from", metavar="WEIGHTS", type=Path, help="weights (.safetensors) to begin with")
    parser.add_argument("--threads", type=int, default=1, help="of the network; default: 1")
    parser.add_argument("--steps", type=int, default=8, help="that are timed, after two that are not; default: 8")


def step_time(options: argparse.Namespace) -> int:
    """Print the medians, in seconds and in CPU-seconds, as JSON; returns the exit status.

    Weights at which a network has learned something make another step than fresh ones: what is sure has gradients next
    to zero, and CPUs are slow there unless they are told to take them for zero.
    """
    recipe = load_recipe(options.recipe, None, [*options.changes, "sampling.workers=0", "sampling.painted_share=1"])
    from training.learning.learner import Learner, next_to_zero_is_zero
    from training.learning.machine import Machine
    from training.learning.source import open_bodies

    source = open_bodies(options.bodies, recipe)
    learner = Learner(recipe, Machine("cpu", threads=options.threads).launch(recipe), options.start_from)
    stream = learner.batches(source, first=0)
    times: dict[str, list[tuple[float, float]]] = {"batch": [], "gradients": [], "update": []}
    with next_to_zero_is_zero():
        for step in range(2 + options.steps):
            marks = [(time.perf_counter(), time.process_time())]
            batch = next(stream)
            marks.append((time.perf_counter(), time.process_time()))
            loss = learner.gradients(batch, step, share=0.0)
            marks.append((time.perf_counter(), time.process_time()))
            learner.update(loss, step, options.bodies)
            marks.append((time.perf_counter(), time.process_time()))
            for part, before, after in zip(times, marks[:-1], marks[1:], strict=True):
                times[part].append((after[0] - before[0], after[1] - before[1]))
    for part, spent in times.items():
        wall, cpu = (statistics.median(each) for each in zip(*spent[2:], strict=True))
        print(json.dumps({"part": part, "seconds": round(wall, 4), "cpu_seconds": round(cpu, 4)}))
    return 0
