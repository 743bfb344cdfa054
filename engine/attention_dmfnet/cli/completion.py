"""``attention-dmfnet completion bash``: what a shell completes, made from the commands' own options."""

import argparse
import sys
from collections.abc import Iterator

from attention_dmfnet.cli.parser import Parser, examples
from attention_dmfnet.cli.progress import say
from attention_dmfnet.cli.status import DONE
from attention_dmfnet.organs import ORGANS

_BASH = """\
_attention_dmfnet() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} command='' option='' i
  for ((i = 1; i < COMP_CWORD; i++)); do
    case ${{COMP_WORDS[i]}} in
    -*) option=${{COMP_WORDS[i]}} ;;
    *) command=${{command:-${{COMP_WORDS[i]}}}} ;;
    esac
  done
  COMPREPLY=()
  case $word in
  -*) ;;
  *)
    case "$command $before" in
{one}
    esac
    case "$command $option" in
{many}
    esac
    # an argument: the shell completes files
    [[ $command ]] && return ;;
  esac
  case $command in
{options}
  esac
}}
complete -o default -F _attention_dmfnet attention-dmfnet"""

# zsh has an interpreter of bash's completions
_ZSH = """\
autoload -U +X compinit && compinit -u
autoload -U +X bashcompinit && bashcompinit
"""


def add_options(command: argparse.ArgumentParser) -> None:
    """See ``commands.CommandModule``."""
    command.description = "Print what lets a shell complete commands, options and their values."
    command.epilog = examples(
        ("for bash", "attention-dmfnet completion bash"),
        ("for zsh", "attention-dmfnet completion zsh"),
        after='put into ~/.bashrc or ~/.zshrc, with bash or zsh: eval "$(attention-dmfnet completion bash)"',
    )
    command.add_argument("shell", metavar="SHELL", choices=["bash", "zsh"], help="bash or zsh")


def run(options: argparse.Namespace) -> int:
    """See ``commands.CommandModule``."""
    say(script(options.shell), sys.stdout)
    return DONE


def script(shell: str) -> str:
    """The completion for ``shell``, "bash" or "zsh"."""
    parser = Parser.of()
    one: list[str] = []
    many: list[str] = []
    for name, own in parser.commands.items():
        for before, words, several in _values(own):
            (many if several else one).append(f"    '{name} {before or name}') {_reply(words)}return ;;")
    options = [f"  {name}) {_reply(sorted(own.option_names()))};;" for name, own in parser.commands.items()]
    options.append(f"  '') {_reply([*parser.commands, *sorted(parser.option_names())])};;")
    text = _BASH.format(one="\n".join(one), many="\n".join(many), options="\n".join(options))
    return _ZSH + text if shell == "zsh" else text


def _values(parser: Parser) -> Iterator[tuple[str, list[str], bool]]:
    """What takes a value: the option ("" for an argument), the words it may be, if few, whether it takes several."""
    for action in parser._actions:
        words = [str(choice) for choice in action.choices or ()]
        if "--organs" in action.option_strings:
            words = [organ.name.replace(" ", "-") for organ in ORGANS]
        if action.nargs != 0 and (action.option_strings or words):
            for option in action.option_strings or [""]:
                yield option, words, action.nargs == "+"


def _reply(words: list[str]) -> str:
    # where there are no words of ours, the shell completes files
    return f"COMPREPLY=($(compgen -W '{' '.join(words)}' -- \"$word\")); " if words else ""
