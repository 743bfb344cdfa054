"""A progress bar for a terminal; in a log there is none."""

import contextlib
import shutil
import threading
from typing import TextIO

_BAR_CELLS = 24
_CLEAR_LINE = "\r\x1b[K"


class Progress:
    """``done`` of ``total`` cases, and what is happening, on the last line of the terminal behind ``stream``.

    Everything else that is printed meanwhile has to go through ``print_line``. Where ``stream`` is no terminal, no
    bar is drawn and the lines are plain. Any thread may call. A line that cannot be printed (a pipe whose reader has
    gone, a full disk) is lost: the work goes on.
    """

    def __init__(self, total: int, stream: TextIO) -> None:
        self._total = total
        self._stream = stream
        self._done = 0
        self._what = ""
        self._visible = stream.isatty()
        self._lock = threading.RLock()

    def show(self, what: str) -> None:
        """Say what is happening now."""
        with self._lock:
            self._what = what
            self._draw()

    def case_done(self) -> None:
        """Count one case more."""
        with self._lock:
            self._done += 1
            self._what = ""
            self._draw()

    def print_line(self, line: str, to: TextIO) -> None:
        """Print a whole line to ``to``, above the bar, at once: the reader may be a pipe."""
        with self._lock:
            self.clear()
            say(line, to)
            self._draw()

    def clear(self) -> None:
        """Take the bar away."""
        if self._visible:
            with self._lock:
                say(_CLEAR_LINE, self._stream, end="")

    def _draw(self) -> None:
        if not self._visible or self._done >= self._total:
            return
        filled = _BAR_CELLS * self._done // self._total
        bar = "#" * filled + "." * (_BAR_CELLS - filled)
        line = f"[{bar}] {self._done}/{self._total} {self._what}"
        # a line that wraps could not be cleared again
        width = shutil.get_terminal_size().columns - 1
        say(_CLEAR_LINE + line[:width], self._stream, end="")


def say(text: str, to: TextIO, end: str = "\n") -> None:
    """Print ``text`` at once, if that can be: the work is not to fail because nobody reads about it."""
    encoding = getattr(to, "encoding", None) or "utf-8"
    # a name that the terminal's encoding lacks is no reason to stop either
    shown = text.encode(encoding, "backslashreplace").decode(encoding)
    # ValueError: the stream was closed meanwhile
    with contextlib.suppress(OSError, ValueError):
        print(shown, end=end, file=to, flush=True)
