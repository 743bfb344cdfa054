"""The parity test as a table in Markdown."""

from collections.abc import Sequence

from export.gate import Verdict

_NAMES = {"openvino": "OpenVINO", "onnxruntime": "ONNX Runtime", "tensorrt": "TensorRT"}


def parity_table(verdicts: Sequence[Verdict], reference: str) -> str:
    """One row for each variant and runtime, then the DSC by organ of all that is not full precision."""
    first = verdicts[0].parity
    lines = [
        f"Against {reference}, on {first.measured_on}. {first.machine.split(';')[0]}.",
        "",
        "| stage | runtime | precision | largest score difference | labels differ | lowest DSC (organ) | s/tile | |",
        "|---|---|---|---|---|---|---|---|",
        *(_row(verdict) for verdict in verdicts),
    ]
    lines += _refusals(verdicts)
    reduced = [verdict for verdict in verdicts if verdict.variant.precision != "float32"]
    if reduced:
        lines += ["", "DSC against full precision, by organ, the lowest of all scans:", "", *_by_organ(reduced)]
    return "\n".join(lines) + "\n"


def _row(verdict: Verdict) -> str:
    parity = verdict.parity
    organ, dsc = min(parity.dsc.items(), key=lambda item: item[1])
    differ = "0" if parity.labels_differ == 0 else f"{parity.labels_differ:.1e}"
    lowest = "1" if dsc == 1 else f"{dsc:.4f} ({organ})"
    cells = [
        verdict.stage,
        _runtime(verdict),
        verdict.variant.precision,
        f"{parity.max_score_difference:.1e}",
        differ,
        lowest,
        f"{parity.seconds_per_tile:.3f}",
        "passed" if verdict.refused is None else "refused",
    ]
    return f"| {' | '.join(cells)} |"


def _refusals(verdicts: Sequence[Verdict]) -> list[str]:
    refused = [verdict for verdict in verdicts if verdict.refused is not None]
    lines = [f"- {v.stage}, {_runtime(v)}, {v.variant.precision}: {v.refused}" for v in refused]
    return ["", "Refused, and not among the models:", "", *lines] if lines else []


def _by_organ(verdicts: Sequence[Verdict]) -> list[str]:
    heads = [f"{verdict.stage}, {_runtime(verdict)}, {verdict.variant.precision}" for verdict in verdicts]
    return [
        f"| organ | {' | '.join(heads)} |",
        "|---" * (len(heads) + 1) + "|",
        *(
            f"| {organ} | {' | '.join(f'{verdict.parity.dsc[organ]:.4f}' for verdict in verdicts)} |"
            for organ in verdicts[0].parity.dsc
        ),
    ]


def _runtime(verdict: Verdict) -> str:
    gpu = ", GPU" if verdict.parity.device == "cuda" else ""
    return f"{_NAMES[verdict.parity.backend]}{gpu}"
