"""The process in which one target is fuzzed: it may crash, hang, or ask for too much memory.

``python -m tests.fuzz.worker TARGET FOLDER`` reads numbers of mutants, one a line, and answers each with a line of
JSON: null, or what was found.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import resource
import shutil
import sys
import time
import traceback
import warnings
from pathlib import Path

from tests.fuzz.targets import TARGETS, faults_said

ADDRESS_SPACE_MB = 1024
"""Beyond what the process has when its libraries are loaded: a larger allocation fails, and is found."""

MOST_SECONDS = 5.0
LEAST_MEMORY_MB, TIMES_UNPACKED = 48, 12
"""What reading may take: so much, and so many times what the file can unpack to (1032 times its size)."""


def main(name: str, folder: Path) -> None:
    target = TARGETS[name]
    run, allowed = target.begin()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not be taken for an answer
    faulthandler.enable()
    warnings.simplefilter("error", RuntimeWarning)  # a user would see it
    limited = False
    for line in sys.stdin:
        number = int(line)
        place = target.lay_out(number, folder / "mutant")
        unpacked = place.stat().st_size * 1032
        _forget_peak()
        before_mb, before_s = _memory_mb("VmRSS"), time.process_time()
        found: str | None = None
        said: list[str] = []
        try:
            said = run(place, folder / "mutant")
        except allowed as error:
            said = [str(error)]
        except BaseException as error:
            found = f"{type(error).__name__} at {_origin(error)}: {str(error)[:300]}"
        took_s, grown_mb = time.process_time() - before_s, _memory_mb("VmHWM") - before_mb
        if found is None and (faults := faults_said(said)):
            found = faults[0]
        if found is None and took_s > MOST_SECONDS:
            found = f"took {took_s:.1f} s for {place.stat().st_size} bytes"
        if found is None and limited and grown_mb > LEAST_MEMORY_MB + TIMES_UNPACKED * unpacked / 2**20:
            found = f"took {grown_mb:.0f} MB for {place.stat().st_size} bytes"
        print(json.dumps(found), file=answers, flush=True)
        shutil.rmtree(folder / "mutant")
        if not limited and number < len(target.seeds()):
            # the first run has loaded what is loaded when it is needed
            limit = int((_memory_mb("VmSize") + ADDRESS_SPACE_MB) * 2**20)
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            limited = True


def _forget_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _memory_mb(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _origin(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "site-packages" not in frame.filename and "/lib/python" not in frame.filename]
    last = (ours or frames)[-1]
    return f"{Path(last.filename).name}:{last.lineno} {last.name}"


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
