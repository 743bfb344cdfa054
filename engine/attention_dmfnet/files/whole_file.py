"""A file that appears whole or not at all, whoever else writes to the same folder, and what a killed run leaves.

A file is made under a hidden name of its own and renamed when it is complete. As long as it is being made, it is
locked: what is not locked was left behind and may go. Process numbers would not do, because in a container every
engine is process 1.
"""

import contextlib
import fcntl
import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from attention_dmfnet.signals import signals_later

_PARTIAL_NAME = re.compile(r"\.attention-dmfnet-[0-9a-f]{16}\.partial(\.[a-z.]+)?", re.IGNORECASE)

ABANDONED_AFTER_S = 3600.0
"""Where the disk knows no locks, a partial file that nobody has written to for this long was left behind."""


@contextlib.contextmanager
def replacing(path: Path, extension: str) -> Iterator[Path]:
    """An empty file beside ``path``, named with ``extension``, that takes its place when the block is left.

    If the block fails, ``path`` is as it was. A signal to stop is heeded when the block is left. Raises ``OSError``.
    """
    with signals_later():
        partial, descriptor = _new_partial(path.parent, extension)
        try:
            yield partial
            partial.replace(path)
        finally:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Remove the partial files of runs that were killed, and no others. Never fails: they are in nobody's way."""
    with contextlib.suppress(OSError):
        for path in list(folder.iterdir()):
            if _PARTIAL_NAME.fullmatch(path.name):
                with contextlib.suppress(OSError):
                    _remove_if_left(path)


def _new_partial(folder: Path, extension: str) -> tuple[Path, int]:
    while True:
        # short, and not after the scan: a long name would be too long with anything before it
        partial = folder / f".attention-dmfnet-{secrets.token_hex(8)}.partial{extension}"
        try:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except FileExistsError:
            continue
        if _locked(descriptor) is not False and _is_at(partial, descriptor):
            return partial, descriptor
        # another run took it for a leftover before it was locked
        os.close(descriptor)


def _remove_if_left(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        free = _locked(descriptor)
        if free is None:
            free = time.time() - os.fstat(descriptor).st_mtime > ABANDONED_AFTER_S
        if free:
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool | None:
    """Whether the file is locked for us now; None where the disk knows no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_at(path: Path, descriptor: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(path.stat(follow_symlinks=False), os.fstat(descriptor))
    return False
