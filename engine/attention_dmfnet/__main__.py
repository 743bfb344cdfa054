"""``python -m attention_dmfnet``, the same as the command ``attention-dmfnet``."""

import gc
import sys

if sys.version_info < (3, 11):  # noqa: UP036  # pip sees to it, predict.sh takes any Python that it finds
    have = ".".join(map(str, sys.version_info[:2]))
    sys.stderr.write(f"attention-dmfnet needs Python 3.11 or newer, {sys.executable} is {have}\n")
    sys.exit(2)

# Imports make objects that stay: to look for garbage among them 70 times takes 10 CPU-milliseconds of every start
# (docs/performance.md). It stays so: scans and scores are let go by who held them, and make no garbage in circles.
gc.set_threshold(100_000)

from attention_dmfnet.cli.main import run  # noqa: E402  # after the line above

if __name__ == "__main__":
    run()
