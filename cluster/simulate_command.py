"""``python -m cluster simulate``: how long an archive takes on more workers than there are, and what it costs."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random
from statistics import mean

from attention_dmfnet.cli.progress import say

from cluster.dispatch import Rules
from cluster.errors import ClusterError
from cluster.ledger import read_only
from cluster.plan import PerCase, Prices, plan
from cluster.simulation import Faults, Simulated
from cluster.simulation import simulate as run

_DRAWN = 10_000


def add_options(command: argparse.ArgumentParser) -> None:
    """The command line of ``simulate``."""
    command.description = (
        "Do cases on simulated workers that fail, slow down and stall, with and without giving slow cases to a second "
        "worker; then what the whole archive takes at your prices."
    )
    work = command.add_argument_group("cases")
    work.add_argument("--cases", type=int, default=100_000, help="to simulate")
    work.add_argument("--archive", type=int, default=1_000_000, help="cases of the plan")
    work.add_argument("--ledger", metavar="FILE", type=Path, help="take seconds and bytes from this run's ledger")
    work.add_argument("--seconds", type=float, default=2.0, help="median of a case on one worker, without a ledger")
    work.add_argument("--spread", type=float, default=0.5, help="standard deviation of its logarithm")
    work.add_argument("--read-mb", type=float, default=20.0, help="of a case's scan, without a ledger")
    work.add_argument("--written-mb", type=float, default=0.1, help="of its label map, without a ledger")
    machines = command.add_argument_group("machines")
    machines.add_argument("--workers", type=int, default=1000)
    machines.add_argument("--worker-cpus", type=int, default=1)
    machines.add_argument("--start-s", type=float, default=10.0, help="until a worker has loaded its networks")
    machines.add_argument("--life-hours", type=float, default=100.0, help="of a worker on average; 0: for ever")
    machines.add_argument("--slow-share", type=float, default=0.02, help="share of workers that are slow")
    machines.add_argument("--slow-by", type=float, default=5.0, help="how many times slower they are")
    machines.add_argument("--stall-share", type=float, default=0.0001, help="share of attempts that stall")
    machines.add_argument("--stall-s", type=float, default=600.0, help="for how long")
    machines.add_argument("--seed", type=int, default=1)
    prices = command.add_argument_group("prices, in your currency")
    prices.add_argument("--price-core-hour", type=float, default=0.0)
    prices.add_argument("--price-gb-read", type=float, default=0.0, help="a GB that leaves the store")
    prices.add_argument("--price-gb-month", type=float, default=0.0, help="a GB of label maps, kept for a month")
    prices.add_argument("--price-1000-requests", type=float, default=0.0)


def simulate(options: argparse.Namespace) -> int:
    """Run the command; returns the exit status. Raises ``ClusterError`` for a ledger that cannot be used."""
    if options.ledger is None:
        random = Random(options.seed)
        median = math.log(options.seconds)
        case_s: Sequence[float] = [random.lognormvariate(median, options.spread) for _ in range(_DRAWN)]
        read, written = options.read_mb * 1e6, options.written_mb * 1e6
    else:
        case_s, read, written = _measured(options.ledger)
    faults = Faults(
        options.life_hours * 3600,
        start_s=options.start_s,
        slow_share=options.slow_share,
        slow_by=options.slow_by,
        stall_share=options.stall_share,
        stall_s=options.stall_s,
    )
    say(
        f"{options.cases} cases on {options.workers} workers, {mean(case_s):.2f} s each (mean), seed {options.seed}",
        sys.stdout,
    )
    first: Simulated | None = None
    for name, factor in (("with copies of slow cases", 3.0), ("without", 0.0)):
        made = run(case_s, options.cases, Rules(options.workers, slow_factor=factor), faults, options.seed)
        first = first or made
        say(_line(name, made), sys.stdout)
    assert first is not None
    overhead = (first.lost_s + first.twice_s) / first.work_s
    each = PerCase(first.work_s / first.done * options.worker_cpus, read, written)
    prices = Prices(options.price_core_hour, options.price_gb_read, options.price_gb_month, options.price_1000_requests)
    cores = options.workers * options.worker_cpus
    whole = plan(options.archive, cores, each, prices, overhead)
    say(
        f"{options.archive} cases on {cores} cores: {whole.core_hours:.0f} core-hours, {whole.hours:.1f} hours, "
        f"{whole.cases_per_core_hour:.0f} cases per core-hour; {whole.read_gb / 1000:.1f} TB read at "
        f"{whole.read_mb_s:.0f} MB/s, {whole.written_gb / 1000:.2f} TB written, {whole.requests / 1e6:.1f} M requests "
        f"at {whole.requests_per_s:.0f}/s; cost {whole.cost:.2f}: cores {whole.cost_of_cores:.2f}, store "
        f"{whole.cost_of_store:.2f}",
        sys.stdout,
    )
    return 0


def _line(name: str, made: Simulated) -> str:
    return (
        f"{name}: {made.seconds:.0f} s, {made.seconds / made.ideal_s:.2f} of no gap; {made.done} done, "
        f"{made.given_up} given up; {made.lost_workers} workers lost with {made.lost_s:.0f} s of work "
        f"({made.lost_s / made.work_s:.2%}); {made.copies} copies, {made.twice_s:.0f} s in vain"
    )


def _measured(path: Path) -> tuple[Sequence[float], float, float]:
    """Seconds that a worker spent on each case, and the mean bytes read and written. Raises ``ClusterError``.

    They are those between one case's end and the next one's on the same worker: a worker has two cases in flight, and
    the time of each holds what it waited for the other.
    """
    with read_only(path) as rows:
        found = rows.execute(
            "SELECT ended - lag(ended) OVER (PARTITION BY worker ORDER BY ended), bytes_read, bytes_written "
            "FROM cases WHERE state = 'done' AND worker <> '' ORDER BY ended"
        ).fetchall()
    case_s = [row[0] for row in found if row[0] is not None]
    if not case_s:
        raise ClusterError(f"{path} tells of no worker that has done two cases; label more, or say --seconds")
    return case_s, mean(row[1] for row in found), mean(row[2] for row in found)
