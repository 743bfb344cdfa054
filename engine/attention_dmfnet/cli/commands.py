"""The commands. A new one is a row here and a module, which is imported when the command is typed and not before."""

import argparse
import importlib
from dataclasses import dataclass
from typing import Any, Protocol


class CommandModule(Protocol):
    """What the module of a command offers. Its import is what ``--help`` waits for: nothing heavy at its top."""

    def add_options(self, command: argparse.ArgumentParser) -> None:
        """Add the command's arguments in groups, its description, and an epilog with two examples or more."""

    def run(self, options: argparse.Namespace) -> int:
        """Do the work; returns the exit status."""
        ...


@dataclass(frozen=True, slots=True)
class Command:
    """A command: what it does in a few words, and the module that does it."""

    summary: str
    module: str

    def load(self) -> CommandModule:
        """Import the command's module."""
        module: Any = importlib.import_module(self.module)
        loaded: CommandModule = module
        return loaded


COMMANDS = {
    "predict": Command("label the organs in every scan of a folder", "attention_dmfnet.cli.predict"),
    "report": Command("numbers and pages of label maps that are there already", "attention_dmfnet.cli.report"),
    "doctor": Command("see whether this machine can label a scan, and with what", "attention_dmfnet.cli.doctor"),
    "describe": Command("say what goes in and comes out, and the models' hashes", "attention_dmfnet.cli.describe"),
    "completion": Command("print what lets bash or zsh complete these words", "attention_dmfnet.cli.completion"),
}
"""By the word that people type, in the order of ``attention-dmfnet --help``."""
