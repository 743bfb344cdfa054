"""One page on how far everything is: ``status.md``."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from training.data.cache import write_text
from training.learning.run_files import LOG, read_log

STATUS = "status.md"


class Told(Protocol):
    """What the page needs of a step's record."""

    @property
    def name(self) -> str: ...
    @property
    def what(self) -> str: ...
    @property
    def command(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def begun_s(self) -> float: ...
    @property
    def took_s(self) -> float: ...
    @property
    def said(self) -> str: ...


def write_status(to: Path, typed: str, records: Sequence[Told]) -> None:
    """Replace the page."""
    write_text(as_page(to, typed, records) + "\n", to / STATUS)


def as_page(to: Path, typed: str, records: Sequence[Told]) -> str:
    """The page in Markdown: a line a step, then each step's command."""
    done = sum(record.state == "done" for record in records)
    now = time.strftime("%Y-%m-%d %H:%M")
    lines = [f"# {to.name}: {done} steps done", "", f"Written {now}. To go on, type the same command again:", ""]
    lines += ["```sh", typed, "```", "", "| step | state | took | what |", "|---|---|---|---|"]
    lines += [f"| {r.name} | {r.state} | {_took(r)} | {r.what}{_more(to, r)} |" for r in records]
    lines += ["", "Each step can be typed by itself:", "", "```sh", *(record.command for record in records), "```"]
    return "\n".join(lines)


def _took(record: Told) -> str:
    if not record.took_s:
        return time.strftime("since %H:%M", time.localtime(record.begun_s)) if record.state == "begun" else ""
    seconds = round(record.took_s)
    return f"{seconds} s" if seconds < 120 else f"{seconds // 3600} h {seconds % 3600 // 60} min"


def _more(to: Path, record: Told) -> str:
    """Remarks: what the step said, and how far a training run is."""
    return "".join(f"; {each}" for each in (record.said, *_progress(to / record.name / LOG)) if each)


def _progress(log: Path) -> Iterator[str]:
    if not log.is_file():
        return
    rows = read_log(log)
    losses = [row for row in rows if "loss" in row]
    scores = [row for row in rows if "mean_dsc" in row]
    if losses:
        yield f"epoch {losses[-1]['epoch']}, loss {float(str(losses[-1]['loss'])):.3f}"
    if scores:
        yield f"mean DSC {float(str(scores[-1]['mean_dsc'])):.3f} on {scores[-1]['cases']} held-out cases"
