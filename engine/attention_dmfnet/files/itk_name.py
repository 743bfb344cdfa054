"""A name for a file that SimpleITK can take.

SimpleITK takes names as UTF-8. A name with other bytes in it, as archives from before Unicode hold them, ends the
process in C++; with a locale that is not UTF-8, SimpleITK looks for another file than Python does.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def itk_name(path: Path, extension: str) -> Iterator[str]:
    """``path`` itself, or where SimpleITK cannot take it, a link to it that is there within the block.

    ``extension`` is the one that tells the kind of file. Raises ``OSError`` if no link can be made anywhere.
    """
    if _is_taken(path):
        yield str(path)
        return
    with _scratch_folder() as folder:
        link = folder / f"image{extension}"
        link.symlink_to(path.absolute())
        yield str(link)


def _is_taken(path: Path) -> bool:
    try:
        # SimpleITK gets the text as UTF-8, and the system takes that for the bytes of the name
        return str(path).encode() == os.fsencode(path)
    except UnicodeEncodeError:
        return False


@contextlib.contextmanager
def _scratch_folder() -> Iterator[Path]:
    folder = _make_scratch_folder()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _make_scratch_folder() -> Path:
    # the last one is what there is in a container with a read-only root
    for place in (os.environ.get("TMPDIR"), "/tmp", "/dev/shm"):
        if place and _is_taken(Path(place)):
            with contextlib.suppress(OSError):
                return Path(tempfile.mkdtemp(prefix="attention-dmfnet-", dir=place))
    raise OSError(None, "its name is not UTF-8 and no link to it can be made; rename it, or set TMPDIR")
