"""What counts requests and times the ledger for docs/scale.md, on little; and what the page says of it."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = " ".join((ROOT / "docs" / "scale.md").read_text().split())


def printed(module: str, *words: str) -> list[str]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'engine'}"}
    done = subprocess.run(
        [sys.executable, "-m", module, *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_scan_costs_two_requests_and_a_run_five() -> None:
    assert printed("tests.cluster.store_requests", "--scans", "2", "3") == [
        # both places are listed, and it is asked whether what is not there is a file
        "2 scans, first: 5 GET, 1 HEAD, 3 PUT",
        # both are listed, and the record is fetched
        "2 scans, again: 3 GET, 1 PUT",
        # each label map, and the header of its scan
        "2 scans, new ledger: 7 GET, 1 PUT",
        "3 scans, first: 6 GET, 1 HEAD, 4 PUT",
        "3 scans, again: 3 GET, 1 PUT",
        "3 scans, new ledger: 9 GET, 1 PUT",
    ]
    scans, gets, heads, puts = map(int, re.search(r"\((\d+) scans: (\d+) GET, (\d+) HEAD, (\d+) PUT\)", PAGE).groups())  # type: ignore[union-attr]
    assert (gets, heads, puts) == (scans + 3, 1, scans + 1)


def test_every_case_of_the_timed_ledger_is_ended() -> None:
    few, many = printed("tests.cluster.ledger_times", "--rows", "60", "--cases", "20")
    assert re.match(r"20 rows, 20 of them ended: [\d.]+ CPU-s to make them, \d+ bytes each; ", few)
    assert re.match(r"60 rows, 20 of them ended: .*; a case takes [\d.]+ CPU-ms, [\d.]+ ms$", many)
