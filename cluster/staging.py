"""A worker's bounded place on its own disk, through which scans and outputs go that are kept at a URL."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cluster.errors import ClusterError

_PREFIX: Final = "attention-dmfnet-staging-"


class Staging:
    """A folder of this process below ``parent``, for up to ``most_bytes`` of scans at a time.

    It is locked as long as the process lives; folders of processes that were killed are removed by the next one. Of
    outputs, which are small beside scans, nothing is counted.
    """

    def __init__(self, parent: Path, most_bytes: int) -> None:
        self._most = most_bytes
        self._used = 0
        self._changed = threading.Condition()
        parent.mkdir(parents=True, exist_ok=True)
        _remove_left(parent)
        while True:
            self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
            self._lock = os.open(self.folder, os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            # another worker may have taken it for one that was left, before it was locked
            if self.folder.is_dir():
                break
            os.close(self._lock)

    @contextlib.contextmanager
    def room(self, size: int) -> Iterator[Path]:
        """A new folder for a case of ``size`` bytes, when there is room for it; removed when the block is left.

        Raises ``ClusterError`` for a case that would never fit.
        """
        if size > self._most:
            raise ClusterError(
                f"its {size / 2**20:.0f} MB do not fit into the {self._most / 2**20:.0f} MB of --staging-mb"
            )
        with self._changed:
            self._changed.wait_for(lambda: self._used + size <= self._most)
            self._used += size
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            with self._changed:
                self._used -= size
                self._changed.notify_all()

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)


def _remove_left(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*"):
        # removed or locked by another worker meanwhile
        with contextlib.suppress(OSError):
            lock = os.open(folder, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            finally:
                os.close(lock)
