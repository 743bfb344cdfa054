"""Where scans and outputs are: a folder that all machines see, or a URL that fsspec knows (``s3://bucket/scans``)."""

from __future__ import annotations

import contextlib
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from random import Random
from typing import IO, Any, Final, TypeVar

from cluster.errors import ClusterError

_URL: Final = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)

_WHOLE_OR_NOT: Final = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss"})
"""Object stores: what is put there appears when it is complete."""

_TRIES: Final = 5
"""Besides those that a file system makes itself."""
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0
_FINAL: Final = (FileNotFoundError, PermissionError, NotImplementedError, IsADirectoryError, ImportError)
"""What another try would not change."""

_Result = TypeVar("_Result")


def place(text: str) -> Path | Place:
    """What is meant by ``text``: a path, or a URL. ``file://`` is a path as well."""
    found = _URL.match(text)
    if found is None:
        return Path(text)
    if found[1].lower() in ("file", "local"):
        return Path(text[found.end() :])
    return Place(text.rstrip("/"))


@dataclass(frozen=True)
class Place:
    """A folder or a file at a URL. Requests that fail are made again; names are relative, with ``/`` in them."""

    url: str

    def __str__(self) -> str:
        return self.url

    @cached_property
    def _files(self) -> tuple[Any, str]:
        """fsspec's file system, and the path in it. Raises ``ClusterError`` if there is none."""
        try:
            import fsspec

            files, root = fsspec.core.url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise ClusterError(
                f"cannot use {self.url}: {error}; `pip install -c constraints.txt -e '.[cluster]'` brings S3, other "
                "places need the package that fsspec names"
            ) from error
        return files, str(root)

    def sizes(self) -> dict[str, int]:
        """The size in bytes of every file here and below, by name; of a file itself under its own name.

        Empty where nothing is. Raises ``ClusterError`` if the place cannot be asked.
        """
        files, root = self._files
        files.invalidate_cache()
        try:
            found = _again(lambda: files.find(root, detail=True))
        except FileNotFoundError:
            return {}
        except Exception as error:
            raise self._unusable(error) from error
        if set(found) == {root}:
            return {PurePosixPath(root).name: int(found[root]["size"])}
        return {path[len(root) :].lstrip("/"): int(entry["size"]) for path, entry in found.items()}

    def fetch(self, name: str, to: Path, size: int | None) -> None:
        """Copy the file ``name`` to the new file ``to``. Raises ``ClusterError``.

        It has ``size`` bytes; None: that is not known.
        """
        files, _ = self._files
        source = self._path(name)
        to.parent.mkdir(parents=True, exist_ok=True)

        def copy() -> None:
            files.get_file(source, str(to))
            if size is not None and to.stat().st_size != size:
                raise OSError(f"{to.stat().st_size} of {size} bytes came")

        try:
            _again(copy)
        except Exception as error:
            raise ClusterError(f"cannot fetch {self.url_of(name)}: {_said(error)}") from error

    def beginning(self, name: str, size: int) -> bytes:
        """The first ``size`` bytes of the file ``name``, which has as many. Raises ``ClusterError``."""
        files, path = self._files[0], self._path(name)
        try:
            # of nothing, a store refuses to give a part
            return bytes(_again(lambda: files.cat_file(path, start=0, end=size))) if size else b""
        except Exception as error:
            raise ClusterError(f"cannot fetch {self.url_of(name)}: {_said(error)}") from error

    def store(self, file: Path, name: str) -> None:
        """Copy ``file`` here under ``name``, whole or not at all. Raises ``ClusterError``."""
        files, _ = self._files
        target = self._path(name)
        # two workers may store the same: of a case that was overtaken
        partial = f".{target.rpartition('/')[2]}.{secrets.token_hex(4)}.partial"

        def copy() -> None:
            if self.url.partition(":")[0].lower() in _WHOLE_OR_NOT:
                files.put_file(str(file), target)
                return
            parent = target.rpartition("/")[0]
            files.makedirs(parent, exist_ok=True)
            try:
                files.put_file(str(file), f"{parent}/{partial}")
                files.mv(f"{parent}/{partial}", target)
            except BaseException:
                with contextlib.suppress(Exception):  # it may not be there
                    files.rm_file(f"{parent}/{partial}")
                raise

        try:
            _again(copy)
        except Exception as error:
            raise ClusterError(f"cannot store {self.url_of(name)}: {_said(error)}") from error

    def open(self, name: str) -> IO[bytes]:
        """The file ``name``, of which only what is read is fetched."""
        opened: IO[bytes] = self._files[0].open(self._path(name), "rb", block_size=1 << 17, cache_type="readahead")
        return opened

    def url_of(self, name: str) -> str:
        """The URL of the file ``name``. Raises ``ClusterError`` if the place cannot be asked what it is."""
        return self.url if self.is_itself(name) else f"{self.url}/{name}"

    def is_itself(self, name: str) -> bool:
        """Whether this place is one file, called ``name``; a folder may have the name of a file in it.

        Raises ``ClusterError`` if the place cannot be asked.
        """
        return self.url.rpartition("/")[2] == name and self._is_one_file

    def _path(self, name: str) -> str:
        root = self._files[1]
        return root if self.is_itself(name) else f"{root}/{name}"

    @cached_property
    def _is_one_file(self) -> bool:
        files, root = self._files
        try:
            # a bucket may have a file and a folder of the same name: then it is the folder that is listed. `isfile`
            # would take a request that failed for a no.
            return bool(_again(lambda: files.info(root)["type"] == "file" and files.find(root) == [root]))
        except FileNotFoundError:
            return False
        except Exception as error:
            raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> ClusterError:
        return ClusterError(f"cannot list {self.url}: {_said(error)}; are address, name and credentials right?")


def _again(ask: Callable[[], _Result]) -> _Result:
    """What ``ask`` returns, at the latest of several tries, with growing pauses between them."""
    random = Random()
    pause_s = _FIRST_PAUSE_S
    for left in reversed(range(_TRIES)):
        try:
            return ask()
        except _FINAL:
            raise
        except Exception:  # each of fsspec's file systems has its library's own classes for a request that failed
            if not left:
                raise
        # all workers of a store that refuses would ask again at the same time
        time.sleep(pause_s * (0.5 + random.random()))
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
    raise AssertionError


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
