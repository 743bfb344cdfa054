"""What a command line may ask for: counts, and places to write to. Refused before any work is done."""

from __future__ import annotations

from pathlib import Path

from training.errors import TrainingError


def at_least(option: str, value: int, least: int = 1) -> None:
    """Raise ``TrainingError`` if ``value`` of ``option`` is below ``least``."""
    if value < least:
        raise TrainingError(f"{option} {value} is too few; give {least} or more")


def can_be_folder(option: str, path: Path) -> None:
    """Raise ``TrainingError`` if ``path`` is a file, or lies below one."""
    nearest = next((each for each in (path, *path.absolute().parents) if each.exists()), Path("/"))
    if not nearest.is_dir():
        where = "is a file" if nearest == path else f"lies below the file {nearest}"
        raise TrainingError(f"{option} {path} {where}; name a folder")


def can_be_picture(option: str, path: Path) -> None:
    """Raise ``TrainingError`` if ``path`` is no PNG or JPEG file's name in what can be a folder."""
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise TrainingError(f"{option} {path} names no kind of picture; end it in .png")
    if path.is_dir():
        raise TrainingError(f"{option} {path} is a folder; name a file")
    can_be_folder(option, path.parent)
