"""Models, hashes, manifest, figures, recipes and card appear together or not at all.

Everything is written to a folder beside the one that it is for and read back through the engine's own door; only
then do the two change places.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import msgspec
from attention_dmfnet.model.manifest import MANIFEST_NAME, Manifest, ManifestError, load_manifest
from attention_dmfnet.model.network import NetworkError, read_model_file

from export.errors import ExportError
from export.figures import FIGURES_NAME, Figures, check_figures, read_figures
from export.release import Release, named_files
from training.learning.checkpoint import recipe_path

CARD_NAME = "MODEL_CARD.md"


def publish(release: Release, folder: Path, card: Path | None = None) -> None:
    """Replace ``folder`` by the release, with a copy of ``card`` in it if there is one.

    Whatever goes wrong, ``folder`` is afterwards either what it was or the whole release. Raises ``ExportError`` if
    ``folder`` holds something else than models, or if the engine would not accept the release.
    """
    folder = folder.resolve()
    _refuse_foreign(folder)
    card_text = None if card is None else _read_card(card)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # beside it, not in the system's temporary folder: renaming works within one file system only
        beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise ExportError(f"cannot write beside {folder}: {error.strerror}") from error
    try:
        new = beside / "new"
        new.mkdir()
        for name, content in (release.files | release.recipes).items():
            (new / name).write_bytes(content)
        if card_text is not None:
            (new / CARD_NAME).write_bytes(card_text)
        (new / MANIFEST_NAME).write_bytes(_json(release.manifest))
        (new / FIGURES_NAME).write_bytes(_json(release.figures))
        _check_as_the_engine_does(new, release)
        _swap(new, folder, beside / "old")
    except OSError as error:
        raise ExportError(f"cannot publish to {folder}: {error}; it is as it was") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def read_release(folder: Path) -> Release:
    """A published folder, its files verified.

    Raises what the engine does, ``ManifestError`` and ``NetworkError``, and ``ExportError`` for the figures.
    """
    manifest = load_manifest(folder)
    files = {named.file: read_model_file(folder, named) for named in named_files(manifest)}
    figures = read_figures(folder / FIGURES_NAME) if (folder / FIGURES_NAME).exists() else Figures()
    check_figures(figures, manifest)
    weights = (stage.weights for stage in (manifest.coarse, manifest.fine) if stage.weights is not None)
    recipes = [path for one in weights if (path := recipe_path(folder / one.file)).exists()]
    return Release(manifest, files, figures, {path.name: path.read_bytes() for path in recipes})


def _json(content: Manifest | Figures) -> bytes:
    """As it is stored: indented, in the order of the schema's fields, with a newline at the end."""
    return msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"


def _refuse_foreign(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ExportError(f"{folder} is a file; name a folder for the models")
    if any(folder.iterdir()) and not (folder / MANIFEST_NAME).exists():
        raise ExportError(f"{folder} holds other files than models and would be replaced; name another folder")


def _read_card(card: Path) -> bytes:
    try:
        return card.read_bytes()
    except OSError as error:
        raise ExportError(f"cannot read the model card {card}: {error.strerror}") from error


def _check_as_the_engine_does(folder: Path, release: Release) -> None:
    try:
        found = read_release(folder)
    except (ManifestError, NetworkError) as error:
        raise ExportError(f"the engine would not accept this release: {error}") from error
    if found.files != release.files:
        odd = ", ".join(sorted(set(release.files) - set(found.files)))
        raise ExportError(f"the manifest does not name {odd}; every file needs its place in it")


def _swap(new: Path, folder: Path, old: Path) -> None:
    """``folder`` becomes ``new``; what it was is at ``old`` afterwards. On an error it is put back."""
    if not folder.exists():
        new.rename(folder)
        return
    try:
        os.rename(folder, old)
        os.rename(new, folder)
    except BaseException:  # an interrupted publication must not lose the old release either
        if old.exists() and not folder.exists():
            os.rename(old, folder)
        raise
