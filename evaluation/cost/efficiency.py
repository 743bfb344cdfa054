"""What one case cost: by the organisers' sums, quirks included, and by figures that can be trusted.

Source: FLARE22's efficiency script. What is odd about its sums, and kept here:

- samples lie 0.1 s and their own duration apart, but count 0.1 s each: every area is too small;
- CPU use is the whole machine's, of which processes of low priority, interrupts and waiting for disks are left out;
- 0.1 is added to the CPU-seconds that the shares are taken of: an idle machine of 2 CPUs seems a third busy;
- the largest GPU memory is the largest value that stands in more than 2 % of the samples.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from evaluation.cost.cold_start import TIME_LIMIT_S, CaseRun, cold_start
from evaluation.cost.gpu import Gpu
from evaluation.cost.process_tree import TreeCost
from evaluation.cost.sampler import SLEEP_S, Sample
from evaluation.cost.system import System

_MORE_THAN_SHARE = 0.02
_ADDED_CPU_S = 0.1


@dataclass(frozen=True, slots=True)
class OfficialCost:
    """One row of the organisers' table; what they call MB are MiB. The GPU's figures are None where there is none."""

    time_s: float
    gpu_mb: float | None
    gpu_area_mb_s: float | None
    cpu_percent: float
    cpu_area_percent_s: float
    ram_mb: float
    ram_area_mb_s: float


@dataclass(frozen=True, slots=True)
class MeasuredCost:
    """The same case, with areas under the samples where they lie in time, and what its own processes used.

    ``*_before`` is the machine's level before the case began. ``other_cpus`` says how many CPUs other processes
    kept busy meanwhile, this measurement among them: where that is far from 0, the wall time is not the case's own.
    ``tree`` and with it ``other_cpus`` is None where the case's processes cannot be seen from here.
    """

    wall_s: float
    tree: TreeCost | None
    gpu_before_mib: float | None
    gpu_max_mib: float | None
    gpu_area_mib_s: float | None
    cpu_area_percent_s: float
    ram_before_mib: float
    ram_max_mib: float
    ram_area_mib_s: float
    other_cpus: float | None
    samples: int
    sample_every_s: float


def measure(
    system: System,
    scans: Sequence[Path],
    folder: Path,
    gpu: Gpu | None = None,
    time_limit_s: float = TIME_LIMIT_S,
    tell: Callable[[str], None] = lambda line: None,
) -> list[CaseRun]:
    """One cold start for each scan, one after the other; a case that fails does not stop the others.

    ``folder`` gets the label maps and logs. Raises ``EvaluationError`` if the system cannot be started at all.
    """
    runs = []
    for scan in scans:
        run = cold_start(system, scan, folder, gpu, time_limit_s)
        tell(f"{run.case}: {run.wall_s:.2f} s" + ("" if run.failure is None else f", failed: {run.failure}"))
        runs.append(run)
    return runs


def official_cost(run: CaseRun) -> OfficialCost:
    """The organisers' figures for one case that did not fail."""
    # without the one that was taken when the case had ended
    samples = run.samples[:-1]
    during = samples[1:]
    gpu_mb = _gpu_mib(during)
    cpu_percent = [official_cpu_percent(before, after) for before, after in pairwise(samples)]
    ram_mb = [sample.ram_mib for sample in during]
    return OfficialCost(
        run.wall_s,
        None if gpu_mb is None else max_in_more_than_2_percent(gpu_mb),
        None if gpu_mb is None else sum(gpu_mb) * SLEEP_S,
        max(cpu_percent),
        sum(cpu_percent) * SLEEP_S,
        max(ram_mb),
        sum(ram_mb) * SLEEP_S,
    )


def official_costs(runs: Sequence[CaseRun]) -> list[OfficialCost]:
    """A row for each case; one that failed gets the organisers' penalty, 3600 s and the largest of all figures."""
    costs = [official_cost(run) for run in runs]
    return [cost if run.failure is None else _penalty(costs) for run, cost in zip(runs, costs, strict=True)]


def measured_cost(run: CaseRun) -> MeasuredCost:
    """What can be said of one case, failed or not."""
    before, *during = run.samples
    last, gpu_mib, tree = during[-1], _gpu_mib(during), run.tree
    during_s = last.time_s - during[0].time_s
    # counted from before the case, as all CPU-seconds of its tree have to be within
    others_s = None if tree is None else max(0.0, last.busy_s - before.busy_s - tree.cpu_s)
    return MeasuredCost(
        wall_s=run.wall_s,
        tree=tree,
        gpu_before_mib=before.gpu_mib,
        gpu_max_mib=None if gpu_mib is None else max(gpu_mib),
        gpu_area_mib_s=None if gpu_mib is None else area(during, lambda sample: sample.gpu_mib or 0.0),
        cpu_area_percent_s=sum(cpu_percent(a, b) * (b.time_s - a.time_s) for a, b in pairwise(during)),
        ram_before_mib=before.ram_mib,
        ram_max_mib=max(sample.ram_mib for sample in during),
        ram_area_mib_s=area(during, lambda sample: sample.ram_mib),
        other_cpus=None if others_s is None else others_s / (last.time_s - before.time_s),
        samples=len(during),
        sample_every_s=during_s / (len(during) - 1) if len(during) > 1 else 0.0,
    )


def official_cpu_percent(before: Sample, after: Sample) -> float:
    """100 minus the idle share between two samples, as the organisers have it."""
    user_s, system_s = after.user_s - before.user_s, after.system_s - before.system_s
    idle_s = after.idle_s - before.idle_s
    return 100 - 100 * idle_s / (user_s + system_s + idle_s + _ADDED_CPU_S)


def cpu_percent(before: Sample, after: Sample) -> float:
    """The share of the machine's CPU time between two samples that was not idle; 0 if no time was counted."""
    busy_s, idle_s = after.busy_s - before.busy_s, after.idle_s - before.idle_s
    return 100 * busy_s / (busy_s + idle_s) if busy_s + idle_s > 0 else 0.0


def max_in_more_than_2_percent(values: Sequence[float]) -> float:
    """The largest value that makes up more than 2 % of ``values``; the largest of all where none does."""
    often = [value for value, count in Counter(values).items() if count > _MORE_THAN_SHARE * len(values)]
    return max(often or values)


def area(samples: Sequence[Sample], value: Callable[[Sample], float]) -> float:
    """The area under the straight lines between the samples, over their real times."""
    return sum((value(a) + value(b)) / 2 * (b.time_s - a.time_s) for a, b in pairwise(samples))


def _penalty(costs: Sequence[OfficialCost]) -> OfficialCost:
    gpu_mb = [cost.gpu_mb for cost in costs if cost.gpu_mb is not None]
    gpu_area_mb_s = [cost.gpu_area_mb_s for cost in costs if cost.gpu_area_mb_s is not None]
    return OfficialCost(
        TIME_LIMIT_S,
        max(gpu_mb, default=None),
        max(gpu_area_mb_s, default=None),
        max(cost.cpu_percent for cost in costs),
        max(cost.cpu_area_percent_s for cost in costs),
        max(cost.ram_mb for cost in costs),
        max(cost.ram_area_mb_s for cost in costs),
    )


def _gpu_mib(samples: Sequence[Sample]) -> list[float] | None:
    known = [sample.gpu_mib for sample in samples if sample.gpu_mib is not None]
    return known or None
