"""How the command line ends."""

import sys

from attention_dmfnet.cli.progress import say
from attention_dmfnet.files.cases import printable

DONE, SOME_FAILED, UNUSABLE, INTERRUPTED = 0, 1, 2, 130
"""Exit statuses: all is well, something failed, nothing could be tried, Ctrl-C or SIGTERM."""


def missing_package(error: ModuleNotFoundError) -> str:
    """What to do about a package that is not installed."""
    return (
        f"the Python package {error.name} is missing in {sys.prefix}; `make setup` in the clone brings what is needed, "
        'or `pip install "attention-dmfnet[cpu]"`'
    )


def refuse(sentence: str) -> int:
    """Say why nothing can be tried; returns the exit status."""
    say(f"attention-dmfnet: {printable(sentence)}", sys.stderr)
    return UNUSABLE
