"""``python -m tests.fuzz``: read files that are a little wrong, for as long as you like (`make fuzz MINUTES=30`).

Every reader must either read a mutant or raise its own error, in one sentence, within the time and memory that the
file is worth. Exit status: 0 if all did, 1 otherwise. A finding has a number: ``--target NAME --number N --save DIR``
puts the file that shows it into DIR.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from tests.fuzz.campaign import fuzz
from tests.fuzz.targets import TARGETS

_TURN_S = 60.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--target", choices=TARGETS, action="append")
    parser.add_argument("--first", type=int, default=None, help="number of the first mutant; default: by the clock")
    parser.add_argument("--number", type=int, help="this mutant alone")
    parser.add_argument("--save", type=Path, metavar="DIR", help="where to put it")
    options = parser.parse_args()
    targets = options.target or list(TARGETS)
    if options.save is not None:
        print(TARGETS[targets[0]].lay_out(options.number, options.save / f"{targets[0]}-{options.number}"))
        return 0
    # other mutants every time; the number of each is its whole origin
    first = options.first if options.first is not None else options.number
    first = int(time.time()) * 1000 if first is None else first
    seconds = 0.0 if options.number is not None else options.minutes * 60
    read: dict[str, int] = dict.fromkeys(targets, 0)
    kinds: dict[tuple[str, str], tuple[int, str]] = {}
    ends = time.monotonic() + seconds
    turn_s = _TURN_S if options.number is not None else min(_TURN_S, seconds / len(targets))
    turns, over = 0, False
    while not over:
        for target in targets:
            found = fuzz(target, first + read[target], turn_s, most=None if options.number is None else 1)
            read[target] += found.mutants
            for kind, (number, what) in found.kinds.items():
                if (target, kind) not in kinds:
                    kinds[target, kind] = (number, what)
                    print(f"{target} {number}: {what}", flush=True)
            # each has had its turn once, however short the time
            turns += 1
            over = time.monotonic() >= ends and turns >= len(targets)
            if over:
                break
    counts = ", ".join(f"{target} {count}" for target, count in read.items())
    print(f"{sum(read.values())} mutants ({counts}), {len(kinds)} findings")
    return 1 if kinds else 0


if __name__ == "__main__":
    sys.exit(main())
