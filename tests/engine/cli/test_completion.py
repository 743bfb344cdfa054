"""What bash and zsh complete, asked of the shells themselves."""

import shutil
import subprocess
from pathlib import Path

import pytest
from attention_dmfnet.cli.commands import COMMANDS
from attention_dmfnet.cli.completion import script
from attention_dmfnet.cli.main import main
from attention_dmfnet.cli.status import DONE

SHELLS = [
    "bash",
    pytest.param("zsh", marks=pytest.mark.skipif(shutil.which("zsh") is None, reason="there is no zsh here")),
]

CASES = [
    ("", {*COMMANDS, "--help", "--version", "-h"}),
    ("pre", {"predict"}),
    ("predict --dev", {"--device"}),
    ("predict --device ", {"auto", "cpu", "cuda"}),
    ("predict --device c", {"cpu", "cuda"}),
    ("predict in out --organs left", {"left-kidney", "left-adrenal-gland"}),
    ("predict in out --organs liver sp", {"spleen"}),
    ("predict in out --organs liver --over", {"--overwrite"}),
    ("doctor --back", {"--backend"}),
    ("completion ", {"bash", "zsh"}),
    # files, which the shell completes by itself
    ("predict ", set[str]()),
    ("predict in out --models ", set[str]()),
]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(("typed", "offered"), CASES)
def test_a_shell_completes(shell: str, typed: str, offered: set[str], tmp_path: Path) -> None:
    words = ["attention-dmfnet", *typed.split(" ")]
    (tmp_path / "completion").write_text(script(shell))
    # zsh counts from 1 unless it plays bash, as it does while it completes
    plays_bash = "setopt ksh_arrays\n" if shell == "zsh" else ""
    program = (
        f'source {tmp_path / "completion"}\n{plays_bash}COMP_WORDS=("$@")\nCOMP_CWORD={len(words) - 1}\n'
        'COMPREPLY=()\n_attention_dmfnet\nprintf "%s\\n" "${COMPREPLY[@]}"'
    )
    options = ["-f"] if shell == "zsh" else ["--norc"]
    done = subprocess.run(
        [shell, *options, "-c", program, shell, *words],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    found = set(done.stdout.split())
    # zsh leaves it to its own completion to drop what does not begin as the word does
    assert {word for word in found if word.startswith(words[-1])} == offered
    assert shell == "zsh" or found == offered


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_command_prints_it(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == DONE
    assert capsys.readouterr().out == script(shell) + "\n"
