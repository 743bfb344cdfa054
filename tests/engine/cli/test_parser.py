"""What may be typed: help with groups, defaults and examples, and a sentence where something is mistyped."""

import argparse
import re
import shlex
import subprocess
import sys

import pytest
from attention_dmfnet import __version__
from attention_dmfnet.cli.commands import COMMANDS
from attention_dmfnet.cli.parser import Parser, parse
from attention_dmfnet.cli.status import UNUSABLE


def _refusal(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as left:
        parse(shlex.split(line))
    assert left.value.code == UNUSABLE
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    return err


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("predcit in out", "attention-dmfnet: there is no command predcit; did you mean predict? ("),
        (
            "predict in out --devise cpu",
            "attention-dmfnet predict: there is no option --devise; did you mean --device? (",
        ),
        ("predict --devise=cpu in out", "there is no option --devise; did you mean --device? ("),
        ("predict --hlep", "there is no option --hlep; did you mean --help? ("),
        # as in earlier versions, but the next one may have another option that begins so
        ("predict in out --over", "there is no option --over; did you mean --overwrite? ("),
        ("predict in out --Overwrite", "there is no option --Overwrite; did you mean --overwrite? ("),
        ("predict in out --xyzzy", "attention-dmfnet predict: there is no option --xyzzy ("),
        ("--overwrite predict in out", "attention-dmfnet: --overwrite comes behind predict ("),
        ("predict in out more", "unrecognized arguments: more"),
        ("predict in", "attention-dmfnet predict: the following arguments are required: OUTPUTS ("),
        ("predict --organs liver in out", "OUTPUTS; --organs takes all that follows it, so it comes behind them ("),
        ("predict in out --device gpu", "argument --device: invalid choice: 'gpu'"),
        ("predict in out --case-timeout 0", "0 is no number of seconds above 0"),
        ("", "the following arguments are required: COMMAND"),
    ],
)
def test_what_is_mistyped_is_answered_in_one_sentence(
    line: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sentence in _refusal(line, capsys)


def test_names_of_files_may_look_like_options_where_they_are_none() -> None:
    options = parse(["predict", "-my scans", "out", "--case-timeout", "1e3"])
    assert (str(options.inputs), options.case_timeout) == ("-my scans", 1000)
    assert str(parse(["predict", "--", "--devise", "out"]).inputs) == "--devise"


def _help(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as left:
        parse([command, "--help"])
    assert left.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_has_examples_that_are_understood(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = _help(command, capsys).partition("\nexamples:\n")[2].partition("\n\n")[0].splitlines()
    lines, purposes = shown[::2], shown[1::2]
    assert len(lines) == len(purposes) >= 2
    for line in lines:
        program, *words = shlex.split(line)
        assert program == "attention-dmfnet"
        assert parse(words).command == command


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_tells_every_default(command: str) -> None:
    parser = Parser.of({command}).commands[command]
    for action in parser._actions:
        if action.option_strings and action.nargs != 0 and not action.required:
            said = parser._get_formatter()._get_help_string(action) or ""
            assert "default: " in said % {"default": action.default}, action.option_strings


def test_options_of_predict_are_in_groups(capsys: pytest.CaptureFixture[str]) -> None:
    titles = re.findall(r"^([a-z ]+):$", _help("predict", capsys), re.MULTILINE)
    assert titles == ["options", "scans and outputs", "networks", "doubt and faults", "reporting", "examples"]


def test_help_lists_the_commands_and_imports_none_of_them() -> None:
    program = (
        "import sys\nfrom attention_dmfnet.cli.main import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
        "from attention_dmfnet.cli.commands import COMMANDS\n"
        "print([c.module for c in COMMANDS.values() if c.module in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    *shown, imported = done.stdout.splitlines()
    assert imported == "[]"
    for name, command in COMMANDS.items():
        assert re.search(rf"^ +{name} +{re.escape(command.summary)}$", "\n".join(shown), re.MULTILINE)


def test_one_command_imports_no_other() -> None:
    program = (
        "import sys\nfrom attention_dmfnet.cli.parser import parse\nparse(['predict', 'in', 'out'])\n"
        "from attention_dmfnet.cli.commands import COMMANDS\n"
        "print([n for n, c in COMMANDS.items() if c.module in sys.modules], 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "['predict'] False\n"


def test_the_version_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        parse(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out == f"attention-dmfnet {__version__}\n"


def test_every_command_can_be_loaded() -> None:
    for command in COMMANDS.values():
        module = command.load()
        module.add_options(argparse.ArgumentParser())
        assert callable(module.run)
