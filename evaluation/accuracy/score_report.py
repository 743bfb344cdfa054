"""What a person wants to see of scores: the organisers' table, a summary, a box plot."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.accuracy.flare22 import LABELS, ORGAN_CODES
from evaluation.accuracy.score import CaseScore
from evaluation.errors import EvaluationError
from evaluation.organs import ORGANS

Table = npt.NDArray[np.float64]
"""(case, organ) DSC or NSD; NaN where the organ was not scored."""


def write_reports(scores: list[CaseScore], csv_path: Path, plot_path: Path | None) -> str:
    """Write the organisers' CSV and, if ``plot_path`` is given, a box plot; returns the summary table.

    Raises ``EvaluationError`` if a file cannot be written, or the plot's library is not installed.
    """
    _write(csv_path, organisers_csv(scores).encode())
    if plot_path is not None:
        _write(plot_path, _box_plot(scores))
    return summary(scores)


def organisers_csv(scores: list[CaseScore]) -> str:
    """``Name``, thirteen ``{organ}_DSC`` and thirteen ``{organ}_NSD``, four decimals; empty where not scored."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["Name", *(f"{code}_{metric}" for metric in ("DSC", "NSD") for code in ORGAN_CODES)])
    dsc, nsd = _tables(scores)
    for case, dsc_row, nsd_row in zip(scores, dsc, nsd, strict=True):
        table.writerow([case.name, *("" if np.isnan(value) else f"{value:.4f}" for value in (*dsc_row, *nsd_row))])
    return text.getvalue()


def summary(scores: list[CaseScore]) -> str:
    """Mean and spread over the cases for each organ, and the means over the organs, as lines of text."""
    dsc, nsd = _tables(scores)
    lines = [f"{'organ':20s} {'cases':>5s}  {'DSC':>15s}  {'NSD':>15s}"]
    for organ, dsc_column, nsd_column in zip(ORGANS, dsc.T, nsd.T, strict=True):
        cases = int(np.isfinite(dsc_column).sum())
        lines.append(
            f"{organ:20s} {cases:5d}  {_mean_and_spread(dsc_column):>15s}  {_mean_and_spread(nsd_column):>15s}"
        )
    means = [_mean_and_spread(np.array([_mean(column) for column in table.T])) for table in (dsc, nsd)]
    lines.append(f"{'mean over organs':20s} {len(scores):5d}  {means[0]:>15s}  {means[1]:>15s}")
    return "\n".join(lines)


def _tables(scores: list[CaseScore]) -> tuple[Table, Table]:
    dsc, nsd = (np.full((len(scores), len(LABELS)), np.nan) for _ in range(2))
    for row, case in enumerate(scores):
        for label, organ in case.organs.items():
            dsc[row, label - 1], nsd[row, label - 1] = organ.dsc, organ.nsd
    return dsc, nsd


def _mean(values: npt.NDArray[np.float64]) -> float:
    scored = values[np.isfinite(values)]
    return float(scored.mean()) if scored.size else float("nan")


def _mean_and_spread(values: npt.NDArray[np.float64]) -> str:
    scored = values[np.isfinite(values)]
    if not scored.size:
        return "-"
    return f"{scored.mean():.4f} ± {scored.std():.4f}"


def _box_plot(scores: list[CaseScore]) -> bytes:
    figure = _figure()
    for axes, metric, table in zip(figure.subplots(2, 1, sharex=True), ("DSC", "NSD"), _tables(scores), strict=True):
        columns = [column[np.isfinite(column)] for column in table.T]
        axes.boxplot(columns, positions=LABELS, widths=0.6, showfliers=False)
        for label, column in zip(LABELS, columns, strict=True):
            # every case as a point, a little apart from its neighbours
            spread = np.linspace(-0.18, 0.18, column.size) if column.size > 1 else np.zeros(column.size)
            axes.plot(label + spread, column, ".", color="tab:blue", alpha=0.6, markersize=5)
        axes.set_ylim(-0.03, 1.03)
        axes.set_ylabel(metric)
        axes.grid(axis="y", alpha=0.3)
        axes.set_xticks(LABELS, ORGAN_CODES, rotation=30, ha="right")
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=130)
    return image.getvalue()


def _figure() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise EvaluationError(
            'the box plot needs the extra `evaluation`: pip install "attention-dmfnet[evaluation]"; '
            "or ask for none with --no-plot"
        ) from error
    # the object, not pyplot: no window system is asked for and nothing stays open
    return Figure(figsize=(10, 7), layout="constrained")


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise EvaluationError(f"cannot write {path}: {error.strerror}") from error
