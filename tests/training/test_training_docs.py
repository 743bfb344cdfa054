"""docs/training.md is what people type: every command in it must be one that the command lines take."""

import argparse
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

import evaluation.__main__
import export.__main__
import training.__main__

DOCS = Path(__file__).resolve().parents[2] / "docs" / "training.md"

PARSERS: dict[str, Callable[[str], argparse.ArgumentParser]] = {
    "training": training.__main__._parser,
    "export": lambda command: export.__main__._parser(),
    "evaluation": lambda command: evaluation.__main__._parser(),
}


def commands() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if " -m " in line]


def after_the_launcher(command: str) -> list[str]:
    """What follows `python -m` or `torchrun ... -m`."""
    words = shlex.split(command)
    return words[words.index("-m") + 1 :]


def test_the_whole_way_is_documented() -> None:
    named = {" ".join(after_the_launcher(command)[:2]) for command in commands()}
    way = {"training prepare", "training fit", "training pseudo-label", "export onnx", "evaluation score"}
    assert way <= named


@pytest.mark.parametrize("command", commands())
def test_a_documented_command_is_understood(command: str) -> None:
    package, *arguments = after_the_launcher(command.replace("$raw", "raw").replace("$seed", "1"))
    PARSERS[package](arguments[0]).parse_args(arguments)
