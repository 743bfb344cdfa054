"""What is told about costs: the organisers' table, our own, a plot for every case and a page about it all."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.cost.cold_start import CaseRun
from evaluation.cost.efficiency import MeasuredCost, OfficialCost, measured_cost, official_costs
from evaluation.files import write_bytes, write_text
from evaluation.markdown import number, table

NO_GPU = "no GPU"

_OFFICIAL_COLUMNS = (
    *("Name", "Time", "GPU_Mem", "AUC_GPU_Time"),
    *("CPU_Utilization", "AUC_CPU_Time", "RAM", "AUC_RAM_Time"),
)
_MEASURED_COLUMNS = (
    *("Name", "Failure", "Wall_s", "Tree_CPU_s", "Tree_Peak_MiB", "Tree_Largest_Process_MiB"),
    *("Tree_RSS_MiB", "Tree_PSS_MiB", "GPU_Before_MiB", "GPU_Max_MiB", "AUC_GPU_MiB_s", "AUC_CPU_Percent_s"),
    *("RAM_Before_MiB", "RAM_Max_MiB", "AUC_RAM_MiB_s", "Other_Processes_CPUs", "Samples", "Sample_Every_s"),
)

_NOTES = """\
**By the organisers' rules** the time is that of the whole command; the other figures are the whole machine's, summed
as their script does: 0.1 s for every sample although samples lie further apart, 0.1 s added to the CPU-seconds that the
shares are taken of (an idle machine of few CPUs looks busy), the GPU's largest value of more than 2 % of the samples.
A case that failed counts 3600 s and the largest of all other figures.

**As it was** has the areas over the samples' real times, and what the case's own processes used. CPU-seconds come from
the kernel's accounts. Peak memory is the largest sum of PSS (which shares out what processes have in common), and at
least the high-water mark of the largest process. *Other processes* is how many CPUs anything else kept busy, this
measurement included: far from 0, the wall time says little.
"""


@dataclass(frozen=True, slots=True)
class Setting:
    """What was measured, on which machine; ``gpu`` says which GPU, or why there is none."""

    title: str
    command: str
    machine: str
    gpu: str


def write_reports(runs: Sequence[CaseRun], setting: Setting, folder: Path, plots: bool = True) -> str:
    """Write the two tables, the page and, with ``plots``, a plot for each case to ``folder``; returns the page.

    Raises ``EvaluationError`` if a file cannot be written or Matplotlib is needed and not installed.
    """
    official, measured = official_costs(runs), [measured_cost(run) for run in runs]
    write_text(folder / "efficiency_flare22.csv", official_csv(runs, official))
    write_text(folder / "efficiency_measured.csv", measured_csv(runs, measured))
    if plots:
        from evaluation.cost.efficiency_plot import plot_case

        for run in runs:
            write_bytes(folder / "plots" / f"{run.case}.png", plot_case(run))
    page = _page(runs, official, measured, setting, plots)
    write_text(folder / "summary.md", page)
    return page


def official_csv(runs: Sequence[CaseRun], costs: Sequence[OfficialCost]) -> str:
    """The organisers' columns and rounding; where there is no GPU, its cells say so."""
    rows = [
        (
            f"{run.case}.nii.gz",
            round(cost.time_s, 2),
            NO_GPU if cost.gpu_mb is None else round(cost.gpu_mb, 0),
            NO_GPU if cost.gpu_area_mb_s is None else round(cost.gpu_area_mb_s, 0),
            round(cost.cpu_percent, 2),
            round(cost.cpu_area_percent_s, 2),
            round(cost.ram_mb, 2),
            round(cost.ram_area_mb_s, 0),
        )
        for run, cost in zip(runs, costs, strict=True)
    ]
    return _csv(_OFFICIAL_COLUMNS, rows)


def measured_csv(runs: Sequence[CaseRun], costs: Sequence[MeasuredCost]) -> str:
    """All of ``MeasuredCost`` with units in the names; what was not measured is empty."""
    return _csv(_MEASURED_COLUMNS, [_measured_row(run, cost) for run, cost in zip(runs, costs, strict=True)])


def _measured_row(run: CaseRun, cost: MeasuredCost) -> list[object]:
    tree = cost.tree
    values = (
        cost.wall_s,
        *(
            (None,) * 5
            if tree is None
            else (tree.cpu_s, tree.peak_mib, tree.peak_process_mib, tree.peak_rss_mib, tree.peak_pss_mib)
        ),
        *(cost.gpu_before_mib, cost.gpu_max_mib, cost.gpu_area_mib_s, cost.cpu_area_percent_s),
        *(cost.ram_before_mib, cost.ram_max_mib, cost.ram_area_mib_s, cost.other_cpus),
        cost.samples,
        cost.sample_every_s,
    )
    return [run.case, run.failure or "", *("" if value is None else round(value, 3) for value in values)]


def _csv(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([columns, *rows])
    return text.getvalue()


def _page(
    runs: Sequence[CaseRun],
    official: Sequence[OfficialCost],
    measured: Sequence[MeasuredCost],
    setting: Setting,
    plots: bool,
) -> str:
    parts = [
        f"# {setting.title}",
        f"One cold start for each case: `{setting.command}`\n\nMachine: {setting.machine}. GPU memory: {setting.gpu}.",
        "## As it was",
        _measured_table(runs, measured),
        "## By the organisers' rules",
        _official_table(runs, official),
        _NOTES.rstrip(),
    ]
    failures = [f"- {run.case}: {run.failure}" for run in runs if run.failure is not None]
    if failures:
        parts += ["## Failed", "\n".join(failures)]
    if plots:
        parts += ["## Over time", *(f"![{run.case}](plots/{run.case}.png)" for run in runs)]
    return "\n\n".join(parts) + "\n"


def _measured_table(runs: Sequence[CaseRun], costs: Sequence[MeasuredCost]) -> str:
    header = [
        "case",
        "wall s",
        "CPU-seconds",
        "peak MiB",
        "GPU MiB (before)",
        "other processes, CPUs",
        "sample every s",
    ]
    rows = [
        [
            run.case if run.failure is None else f"{run.case} (failed)",
            number(cost.wall_s, 2),
            number(cost.tree.cpu_s if cost.tree else None, 2),
            number(cost.tree.peak_mib if cost.tree else None, 0),
            NO_GPU if cost.gpu_max_mib is None else f"{cost.gpu_max_mib:,.0f} ({number(cost.gpu_before_mib, 0)})",
            number(cost.other_cpus, 2),
            number(cost.sample_every_s, 3),
        ]
        for run, cost in zip(runs, costs, strict=True)
    ]
    return table(header, rows)


def _official_table(runs: Sequence[CaseRun], costs: Sequence[OfficialCost]) -> str:
    header = ["case", "time s", "GPU MB", "AUC GPU", "CPU %", "AUC CPU", "RAM MB", "AUC RAM"]
    rows = [
        [
            run.case,
            number(cost.time_s, 2),
            number(cost.gpu_mb, 0, NO_GPU),
            number(cost.gpu_area_mb_s, 0, NO_GPU),
            number(cost.cpu_percent, 1),
            number(cost.cpu_area_percent_s, 1),
            number(cost.ram_mb, 0),
            number(cost.ram_area_mb_s, 0),
        ]
        for run, cost in zip(runs, costs, strict=True)
    ]
    return table(header, rows)
