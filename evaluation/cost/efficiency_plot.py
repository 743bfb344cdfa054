"""One case over time: GPU memory, CPU, RAM, and under them the engine's steps."""

from itertools import pairwise
from typing import Any

from evaluation.cost.cold_start import CaseRun
from evaluation.cost.efficiency import cpu_percent
from evaluation.cost.trace import Trace, threads
from evaluation.figure import as_png, colour_of, new_figure


def plot_case(run: CaseRun) -> bytes:
    """A PNG. Where there is no GPU, or the system wrote no step marks, that panel says so."""
    figure = new_figure(10, 8)
    gpu, cpu, ram, steps = figure.subplots(4, 1, sharex=True, height_ratios=(1, 1, 1, 0.7))
    figure.suptitle(f"{run.case}: {run.wall_s:.2f} s" + ("" if run.failure is None else f" (failed: {run.failure})"))
    _plot_gpu(gpu, run)
    _plot_cpu(cpu, run)
    _plot_ram(ram, run)
    _plot_steps(steps, run)
    for axes in (gpu, cpu, ram, steps):
        axes.grid(axis="x", alpha=0.3)
        axes.axvspan(0, run.wall_s, color="black", alpha=0.04, linewidth=0)
    steps.set_xlabel("seconds since the command was started")
    return as_png(figure)


def _plot_gpu(axes: Any, run: CaseRun) -> None:
    axes.set_ylabel("GPU, MiB")
    points = [(sample.time_s - run.start_s, sample.gpu_mib) for sample in run.samples if sample.gpu_mib is not None]
    if not points:
        axes.set_yticks([])
        _say(axes, "no GPU")
        return
    axes.plot(*zip(*points, strict=True), color="tab:green")
    axes.set_ylim(bottom=0)


def _plot_cpu(axes: Any, run: CaseRun) -> None:
    axes.set_ylabel("CPUs in use")
    cpus = _cpus(run)
    machine = [(b.time_s - run.start_s, cpu_percent(a, b) / 100 * cpus) for a, b in pairwise(run.samples)]
    axes.step(*zip(*machine, strict=True), where="pre", color="tab:grey", label="the whole machine")
    tree = [(sample.time_s, sample.cpu_s) for sample in run.tree_samples if sample.cpu_s is not None]
    # the kernel counts in hundredths of a second: shorter spans would only show the counting
    every = tree[:: max(1, len(tree) * 10 // max(1, round(run.wall_s * 100)))]
    used = [(t1 - run.start_s, (c1 - c0) / (t1 - t0)) for (t0, c0), (t1, c1) in pairwise(every) if t1 > t0]
    if used:
        axes.step(*zip(*used, strict=True), where="pre", color="tab:blue", label="the case's own processes")
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper right", fontsize="small")


def _plot_ram(axes: Any, run: CaseRun) -> None:
    axes.set_ylabel("RAM, MiB")
    before_mib = run.samples[0].ram_mib
    machine = [(sample.time_s - run.start_s, sample.ram_mib - before_mib) for sample in run.samples]
    axes.plot(*zip(*machine, strict=True), color="tab:grey", label="the whole machine, above its level before")
    tree = [(sample.time_s - run.start_s, sample.rss_mib) for sample in run.tree_samples]
    if tree:
        axes.plot(*zip(*tree, strict=True), color="tab:blue", label="the case's own processes (RSS)")
    axes.legend(loc="upper left", fontsize="small")


def _plot_steps(axes: Any, run: CaseRun) -> None:
    if run.trace is None:
        axes.set_yticks([])
        _say(axes, "no step marks")
        return
    draw_steps(axes, run.trace)


def draw_steps(axes: Any, trace: Trace) -> None:
    """The outermost steps as bars, a row for each thread."""
    outermost = [step for step in trace.steps if "/" not in step.name]
    rows, names = threads(outermost), list(dict.fromkeys(step.name for step in outermost))
    for step in outermost:
        left_s, width_s = step.start_s - trace.start_s, step.stop_s - step.start_s
        row = rows.index(step.thread)
        axes.barh(row, width_s, left=left_s, color=colour_of(step.name, names), edgecolor="white", linewidth=0.5)
        # narrower ones would write over each other
        if width_s > 0.03 * trace.wall_s:
            axes.text(left_s + width_s / 2, row, step.name, ha="center", va="center", fontsize="x-small")
    axes.set_yticks(range(len(rows)), rows, fontsize="small")
    axes.invert_yaxis()


def _cpus(run: CaseRun) -> float:
    """How many CPUs the machine's counters add up to."""
    first, last = run.samples[0], run.samples[-1]
    counted_s = last.busy_s - first.busy_s + last.idle_s - first.idle_s
    return max(1.0, round(counted_s / (last.time_s - first.time_s)))


def _say(axes: Any, text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color="tab:grey")
