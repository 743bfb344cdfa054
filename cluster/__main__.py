"""``python -m cluster``: label on many machines, see how far that is, and simulate more machines than there are.

Exit status of ``predict``: that of ``attention-dmfnet predict``. Of the others: 0 done, 2 for what cannot be used.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from attention_dmfnet.cli.main import guarded
from attention_dmfnet.cli.parser import examples
from attention_dmfnet.cli.status import refuse

from cluster.errors import ClusterError

_COMMANDS = {
    "predict": ("cluster.options", "cluster.predict_command:predict", "label the organs in scans on many machines"),
    "status": ("cluster.status", "cluster.status:status", "say how far a run is, from its ledger"),
    "simulate": ("cluster.simulate_command", "cluster.simulate_command:simulate", "how long more machines would take"),
}
"""By command: the module that knows its options, its function, and its help. The function's module is imported late."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser(words[0] if words else "").parse_args(words)

    def command() -> int:
        module, _, function = options.call.partition(":")
        try:
            status: int = getattr(importlib.import_module(module), function)(options)
        except ClusterError as error:
            return refuse(str(error))
        return status

    return guarded(command)


def _parser(chosen: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m cluster",
        description="The same jobs on many machines, with Ray.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=examples(
            (
                "label every scan of a folder with all processors of this machine",
                "python -m cluster predict scans labels",
            ),
            (
                "of a bucket, on the machines of a running Ray",
                "python -m cluster predict s3://archive/scans s3://archive/labels --address auto --ledger run.sqlite",
            ),
        ),
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (module, function, text) in _COMMANDS.items():
        command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", allow_abbrev=False)
        if name == chosen:  # the others' libraries are not needed
            importlib.import_module(module).add_options(command)
            command.set_defaults(call=function)
    return parser


if __name__ == "__main__":
    exit_status = main()
    sys.stdout.flush()
    # every file is complete, and Ray has been ended
    os._exit(exit_status)
