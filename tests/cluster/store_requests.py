"""``python -m tests.cluster.store_requests``: what a run asks of its object store, counted by the tests' S3 server.

Scans of a bucket are labelled into it, by one worker in this process; then once more by the same ledger, and once more
by a new one, which looks at every label map.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import cluster.predict_command
from cluster.__main__ import main as cluster_main
from tests.cluster.conftest import write_scans
from tests.cluster.inline import InlineCrew
from tests.cluster.store import BUCKET, Store, serving
from tests.engine.tiny import write_models


def count(store: Store, scans: int, folder: Path) -> dict[str, Counter[str]]:
    """The requests of each of the three runs over so many scans, by their method. ``folder`` is new."""
    store.put(write_scans(folder / "in", [f"case_{n:04}" for n in range(scans)]), f"in-{scans}")
    models, found = write_models(folder / "models"), {}
    for run, ledger in (("first", "one"), ("again", "one"), ("new ledger", "two")):
        words = [f"s3://{BUCKET}/in-{scans}", f"s3://{BUCKET}/out-{scans}", "--models", str(models)]
        words += ["--ledger", str(folder / f"{ledger}.sqlite"), "--staging", str(folder)]
        store.requests.clear()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
            status = cluster_main(["predict", *words])
        if status != 0:
            raise RuntimeError(said.getvalue())
        found[run] = Counter(store.requests)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.store_requests", description=__doc__)
    parser.add_argument("--scans", type=int, nargs="+", default=[25, 50], metavar="N", help="default: 25 50")
    options = parser.parse_args(arguments)
    # the server's own lines, one a request
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with serving() as store, patch.object(cluster.predict_command, "_ray", InlineCrew):
        for scans in options.scans:
            with tempfile.TemporaryDirectory() as folder:
                for run, requests in count(store, scans, Path(folder)).items():
                    by_method = ", ".join(f"{number} {method}" for method, number in sorted(requests.items()))
                    print(f"{scans} scans, {run}: {by_method}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
