"""What may be typed: the words of every command, read with a suggestion where one is mistyped."""

import argparse
from collections.abc import Container, Iterable, Sequence
from typing import NoReturn

from attention_dmfnet.cli.commands import COMMANDS
from attention_dmfnet.cli.status import UNUSABLE

PROGRAM = "attention-dmfnet"


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The options in ``words``, with the command's name as ``command``.

    Only that command's module is imported. Leaves with ``SystemExit``: status 0 after help, 2 after a sentence about
    what cannot be understood.
    """
    name = next((word for word in words if not word.startswith("-")), None)
    parser = Parser.of({name})
    if name is not None and name not in COMMANDS:
        parser.refuse_word("command", name, COMMANDS)
    asked = parser if name is None else parser.commands[name]
    before = words if name is None else words[: words.index(name)]
    for option in {word.partition("=")[0] for word in before} & asked.option_names() - parser.option_names():
        parser.error(f"{option} comes behind {name}")
    parser.refuse_unknown_options(before)
    asked.words = words[len(before) :]
    asked.refuse_unknown_options(asked.words)
    return parser.parse_args(words)


class Parser(argparse.ArgumentParser):
    """An argument parser that answers a mistake with one sentence, and shows defaults and examples in its help."""

    commands: dict[str, "Parser"]
    words: Sequence[str] = ()

    @classmethod
    def of(cls, filled: Container[str | None] = COMMANDS) -> "Parser":
        """The parser of the whole command line; only the commands in ``filled`` get their options."""
        parser = cls(prog=PROGRAM, description="Thirteen abdominal organs from CT scans.", formatter_class=_Help)
        parser.epilog = examples(
            ("label every scan of a folder", f"{PROGRAM} predict scans labels"),
            ("see the options of a command", f"{PROGRAM} predict --help"),
        )
        parser.add_argument(
            "--version", action=_Version, nargs=0, default=argparse.SUPPRESS, help="say which version this is, and end"
        )
        rows = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, title="commands")
        parser.commands = {}
        for name, command in COMMANDS.items():
            # an option's name must be whole: a shortened one could mean another option in the next version
            own = rows.add_parser(name, help=command.summary, formatter_class=_Help, allow_abbrev=False)
            parser.commands[name] = own
            if name in filled:
                command.load().add_options(own)
        return parser

    def option_names(self) -> set[str]:
        """Every option's name, with its dashes."""
        return set(self._option_string_actions)

    def refuse_unknown_options(self, words: Iterable[str]) -> None:
        """End with a sentence if one of ``words`` is an option that this parser has not."""
        known = self.option_names()
        for word in words:
            name = word.partition("=")[0]
            if word == "--":
                return
            if word.startswith("-") and word != "-" and " " not in word and not _is_number(word) and name not in known:
                self.refuse_word("option", name, known)

    def refuse_word(self, kind: str, word: str, known: Iterable[str]) -> NoReturn:
        """End with a sentence about ``word``, which is no ``kind`` of thing, and the nearest of those ``known``."""
        from attention_dmfnet.spelling import did_you_mean

        self.error(f"there is no {kind} {word}{did_you_mean(word, known)}")

    def error(self, message: str) -> NoReturn:
        """End with ``message`` and where to read more; argparse's own would print the whole usage first."""
        from attention_dmfnet.files.cases import printable

        if "arguments are required" in message:
            takers = {name for name, action in self._option_string_actions.items() if action.nargs == "+"}
            for word in takers.intersection(self.words):
                message += f"; {word} takes all that follows it, so it comes behind them"
        self.exit(UNUSABLE, f"{self.prog}: {printable(message)} ({self.prog} --help lists what there is)\n")


def examples(*lines: tuple[str, str], after: str = "") -> str:
    """An epilog of examples, each with what it is for; ``after`` follows them."""
    shown = "".join(f"\n  {line}\n      {what}" for what, line in lines)
    return f"examples:{shown}" + (f"\n\n{after}" if after else "")


class _Help(argparse.HelpFormatter):
    """Defaults behind the options that have one; the lines of an epilog stay as they are."""

    def add_argument(self, action: argparse.Action) -> None:
        super().add_argument(action)
        if isinstance(action, argparse._SubParsersAction):
            # argparse forgets that commands stand two columns further in, and the longest would get a line of its own
            self._action_max_length += 2

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        shown = action.help or ""
        if action.default is None or action.default is False or action.default == argparse.SUPPRESS:
            return shown
        return f"{shown}; default: %(default)s"


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from attention_dmfnet import __version__

        print(f"{PROGRAM} {__version__}")
        parser.exit()


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
