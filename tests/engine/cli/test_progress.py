import io

from attention_dmfnet.cli.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_in_a_log_there_are_only_plain_lines() -> None:
    log = io.StringIO()
    progress = Progress(2, log)
    progress.show("a: fine")
    progress.print_line("a done", to=log)
    progress.case_done()
    progress.clear()
    assert log.getvalue() == "a done\n"


def test_on_a_terminal_the_bar_shows_the_share_done_and_the_step() -> None:
    terminal = Terminal()
    progress = Progress(4, terminal)
    progress.case_done()
    progress.show("b: fine")
    assert terminal.getvalue().split("\x1b[K")[-1] == "[######..................] 1/4 b: fine"


def test_a_line_clears_the_bar_and_the_bar_comes_back_below() -> None:
    terminal, out = Terminal(), Terminal()
    progress = Progress(4, terminal)
    progress.show("a: fine")
    terminal.truncate(0)
    progress.print_line("a done", to=out)
    assert out.getvalue() == "a done\n"
    cleared, redrawn = terminal.getvalue().lstrip("\0").split("\x1b[K")[1:]
    assert cleared.strip() == ""
    assert redrawn.endswith("0/4 a: fine")


def test_when_all_is_done_the_bar_is_gone() -> None:
    terminal = Terminal()
    progress = Progress(1, terminal)
    progress.show("a: fine")
    progress.clear()
    progress.case_done()
    assert terminal.getvalue().endswith("\r\x1b[K")
