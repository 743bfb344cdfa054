"""``python -m cluster status LEDGER``: how far a run is, read from its ledger while coordinators work in it."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from attention_dmfnet.cli.progress import say

from cluster.ledger import LEDGER_NAME, read_only

_MOST_LISTED: Final = 20


def add_options(command: argparse.ArgumentParser) -> None:
    """The command line of ``status``."""
    command.add_argument("ledger", metavar="LEDGER", type=Path, help="the ledger's file, or the folder that it lies in")
    command.add_argument("--json", action="store_true", help="one JSON object")


def status(options: argparse.Namespace) -> int:
    """Print how far it is; returns the exit status. Raises ``ClusterError`` if there is no ledger."""
    path = options.ledger / LEDGER_NAME if options.ledger.is_dir() else options.ledger
    found = summary(path)
    if options.json:
        say(json.dumps(found), sys.stdout)
    else:
        for line in _lines(path, found):
            say(line, sys.stdout)
    return 0


def summary(path: Path, now: float | None = None) -> dict[str, Any]:
    """Cases by state, attempts, worker-seconds, bytes, cases each worker has done, and those that failed."""
    now = time.time() if now is None else now
    with read_only(path) as rows:
        states = dict(rows.execute("SELECT state, count(*) FROM cases GROUP BY state").fetchall())
        totals = rows.execute(
            "SELECT total(attempts), total(seconds), total(bytes_read), total(bytes_written) FROM cases"
        ).fetchone()
        workers = rows.execute(
            "SELECT worker, count(*), total(seconds) FROM cases WHERE state = 'done' AND worker IS NOT NULL "
            "GROUP BY worker ORDER BY worker"
        ).fetchall()
        failed = rows.execute("SELECT name, attempts, error FROM cases WHERE state = 'failed' ORDER BY name").fetchall()
        ended = rows.execute("SELECT count(*) FROM cases WHERE ended > ?", (now - 60,)).fetchone()[0]
        alive = rows.execute("SELECT host, pid FROM runs WHERE alive_until >= ?", (now,)).fetchall()
    return {
        "states": {state: states.get(state, 0) for state in ("waiting", "running", "done", "failed")},
        "attempts": int(totals[0]),
        "worker_seconds": totals[1],
        "bytes_read": int(totals[2]),
        "bytes_written": int(totals[3]),
        "ended_in_last_minute": ended,
        "coordinators": [f"process {pid} on {host}" for host, pid in alive],
        "workers": [{"worker": worker, "cases": cases, "seconds": seconds} for worker, cases, seconds in workers],
        "failed": [{"case": name, "attempts": attempts, "error": error} for name, attempts, error in failed],
    }


def _lines(path: Path, found: dict[str, Any]) -> Sequence[str]:
    states = found["states"]
    lines = [f"{path}: {', '.join(f'{count} {state}' for state, count in states.items())}"]
    lines.append(
        f"{found['attempts']} attempts, {found['worker_seconds']:.0f} worker-seconds, "
        f"{found['bytes_read'] / 1e6:.0f} MB read, {found['bytes_written'] / 1e6:.1f} MB written"
    )
    left, pace = states["waiting"] + states["running"], found["ended_in_last_minute"]
    if found["coordinators"]:
        rest = f"; {left / pace:.0f} minutes to go at the pace of the last one" if left and pace else ""
        lines.append(f"at work: {', '.join(found['coordinators'])}{rest}")
    elif left:
        lines.append("no coordinator is at work; the same command goes on")
    lines += [f"{one['worker']}: {one['cases']} cases, {one['seconds']:.0f} s" for one in found["workers"]]
    failed = found["failed"]
    lines += [
        f"{one['case']}  FAILED after {one['attempts']} attempts: {one['error']}" for one in failed[:_MOST_LISTED]
    ]
    if len(failed) > _MOST_LISTED:
        lines.append(f"and {len(failed) - _MOST_LISTED} more that failed; --json lists all")
    return lines
