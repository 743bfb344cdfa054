"""What is told about latency: a table by step, and a waterfall."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.cost.latency import Latency
from evaluation.cost.trace import Trace, threads
from evaluation.figure import as_png, colour_of, new_figure
from evaluation.markdown import number, table

_ROW_IN = 0.24


def latency_page(latencies: Sequence[Latency], machine: str, folder_s: Mapping[str, float] | None = None) -> str:
    """Markdown: medians by step for each scan, cold and warm.

    ``folder_s`` has the seconds of a case among different scans in a row, but for the first of them.
    """
    folder_s = folder_s or {}
    parts = [f"Machine: {machine}", *(_case(latency, folder_s.get(latency.case)) for latency in latencies)]
    if folder_s:
        seconds = folder_s.values()
        parts.append(
            f"## Folder\n\nDifferent scans in a row, one process: {statistics.median(seconds):.2f} s for each further "
            f"one (median of {len(seconds)}, {min(seconds):.2f} to {max(seconds):.2f})."
        )
    parts.append(
        "*Warm* is the same scan once more, *folder* the scan after a different one. "
        "Steps of different threads overlap: they add up to more than the wall time. `start` is what passes before the "
        "engine's first line of code, `exit` what passes after its last step; `a/b` is a part of `a`."
    )
    return "\n\n".join(parts) + "\n"


def _case(latency: Latency, folder_s: float | None) -> str:
    cold, warm = latency.cold_seconds(), latency.warm_seconds()
    rows = [
        ["**wall**", number(latency.cold_wall_s(), 3), number(latency.warm_wall_s(), 3), number(folder_s, 3, "")],
    ]
    rows += [
        [_indented(name), number(cold.get(name), 3, ""), number(warm.get(name), 3, ""), ""]
        for name in _parts_after_wholes([*cold, *(name for name in warm if name not in cold)])
    ]
    trees = [run.tree for run in latency.cold if run.tree is not None]
    lines = [
        f"## {latency.case}",
        f"Seconds, medians of {len(latency.cold)} cold starts and {latency.warm_cases} warm cases.",
        table(["step", "cold s", "warm s", "folder s"], rows),
        f"Outside the networks and the reading of the scan: {latency.overhead_share():.0%} of the cold wall time.",
    ]
    if trees:
        cpu_s, peak_mib = max(tree.cpu_s for tree in trees), max(tree.peak_mib for tree in trees)
        lines.append(f"At most {cpu_s:.2f} CPU-seconds and {peak_mib:,.0f} MiB a cold start.")
    return "\n\n".join(lines)


def _parts_after_wholes(names: Sequence[str]) -> list[str]:
    """In the order given, but each part directly after its whole, where it may have started first elsewhere."""
    wholes = [name for name in names if "/" not in name]
    return [part for whole in wholes for part in (whole, *(name for name in names if name.startswith(f"{whole}/")))]


def _indented(name: str) -> str:
    return "&nbsp;&nbsp;" * name.count("/") + name


def waterfall(traces: Sequence[Trace]) -> bytes:
    """A PNG: for each trace a row for each step, in the order of their start, coloured by thread."""
    rows = [_rows(trace) for trace in traces]
    heights = [_ROW_IN * len(steps) + 1 for steps in rows]
    figure = new_figure(10, sum(heights))
    panels = figure.subplots(len(traces), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, trace, names in zip(panels, traces, rows, strict=True):
        _draw(axes, trace, names)
    return as_png(figure)


def _rows(trace: Trace) -> list[str]:
    return _parts_after_wholes(list(dict.fromkeys(step.name for step in trace.steps)))


def _draw(axes: Any, trace: Trace, names: list[str]) -> None:
    workers, seconds = threads(trace.steps), trace.seconds()
    for step in trace.steps:
        axes.barh(
            names.index(step.name),
            step.stop_s - step.start_s,
            left=step.start_s - trace.start_s,
            height=0.4 if "/" in step.name else 0.8,
            color=colour_of(step.thread, workers),
            label=step.thread,
        )
    axes.set_yticks(range(len(names)), [f"{name}  {seconds[name]:.3f} s" for name in names], fontsize="small")
    axes.invert_yaxis()
    axes.set_xlim(0, trace.wall_s)
    axes.set_xlabel("seconds since the process was started")
    axes.set_title(f"{trace.title}: {trace.wall_s:.2f} s")
    axes.grid(axis="x", alpha=0.3)
    # one entry for each thread, not for each bar
    bars = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    axes.legend(bars.values(), bars.keys(), loc="lower left", fontsize="small", title="thread")
