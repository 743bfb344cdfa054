"""``python -m training``: prepare data, train, label with a teacher, paint, compare, and describe a run.

Exit status: 0 done, 1 failed or refused, 2 for a command line that cannot be used, 130 or 143 when stopped by Ctrl-C or
SIGTERM (a checkpoint is written first).
"""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence

DONE, FAILED = 0, 1
_SIGNALLED = 128

_COMMANDS = {
    "run": ("training.paper.run_command", "run", "everything below in one command: from raw folders to models"),
    "prepare": ("training.data.prepare", "prepare", "check folders of scans and make a data set of them"),
    "synthesize": (
        "training.painting.synthesize",
        "synthesize",
        "complete anatomy maps to bodies that CT is painted from",
    ),
    "audit": ("training.painting.audit_command", "audit_command", "ask of completed bodies what is known of any adult"),
    "recombine": (
        "training.painting.recombine_command",
        "recombine",
        "carry organs between completed bodies, for a library of hundreds",
    ),
    "fit": ("training.learning.fit_command", "fit_command", "train a stage by a recipe"),
    "average": ("training.learning.average_command", "average_command", "one network from several runs of one start"),
    "pseudo-label": ("training.pseudo.label", "pseudo_label", "label unlabelled scans with trained teachers"),
    "ablation": ("training.reports.ablation", "ablation", "teacher only against students with each robust loss"),
    "step-time": ("training.reports.step_time", "step_time", "what the parts of a training step cost on this CPU"),
    "loader": ("training.reports.loader", "loader", "samples a minute and memory of a worker that draws real samples"),
    "curve": ("training.reports.curve", "curve", "draw the loss of several runs and the scores reached on the way"),
    "card": ("training.reports.card", "card", "the paper's protocol table for a run"),
}
"""By command: the module that knows its arguments and its function, imported when it is asked for, and its help."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser(arguments[0] if arguments else "").parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    from training.errors import TrainingError

    try:
        status: int = options.call(options)
    except TrainingError as error:
        print(f"python -m training {arguments[0]}: {error}", file=sys.stderr)
        return _SIGNALLED + getattr(error, "signal_number", FAILED - _SIGNALLED)
    except KeyboardInterrupt:
        return _SIGNALLED + 2
    except Exception as error:
        if not _says_enough(error):
            raise
        print(f"python -m training {arguments[0]}: {error}", file=sys.stderr)
        return FAILED
    return status


def _says_enough(error: Exception) -> bool:
    """Whether it names the file that cannot be read or written."""
    images = sys.modules.get("attention_dmfnet.files.image_io")  # where nobody read an image, none is wrong
    return isinstance(error, OSError) or (images is not None and isinstance(error, images.ImageError))


def _parser(chosen: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description="From scans to trained networks.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (module, function, text) in _COMMANDS.items():
        command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        if name == chosen:  # the others' libraries are not needed
            implementation = importlib.import_module(module)
            implementation.add_arguments(command)
            command.set_defaults(call=getattr(implementation, function))
    return parser


if __name__ == "__main__":
    sys.exit(main())
