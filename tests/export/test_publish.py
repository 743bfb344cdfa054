import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from attention_dmfnet.model.manifest import load_manifest
from attention_dmfnet.model.network import NetworkError

from export.errors import ExportError
from export.publish import publish, read_release
from export.release import Release
from tests.export.small_release import parity, small_release


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_is_published_is_what_the_engine_reads_back(tmp_path: Path) -> None:
    release = small_release(float16=b"half")
    card = tmp_path / "card.md"
    card.write_text("what it is")
    publish(release, tmp_path / "deep" / "models", card)
    assert read_release(tmp_path / "deep" / "models") == release
    assert (tmp_path / "deep" / "models" / "MODEL_CARD.md").read_text() == "what it is"
    # and nothing is left beside it
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["models"]


def test_a_new_release_replaces_the_old_one_completely(tmp_path: Path) -> None:
    models = tmp_path / "models"
    card = tmp_path / "card.md"
    card.write_text("the old one")
    publish(small_release(float16=b"half"), models, card)
    publish(small_release(), models)
    assert sorted(_contents(models)) == ["coarse.onnx", "fine.onnx", "manifest.json", "measured.json"]


def test_the_card_may_lie_in_the_folder_that_is_replaced(tmp_path: Path) -> None:
    models = tmp_path / "models"
    publish(small_release(), models)
    (models / "MODEL_CARD.md").write_text("kept")
    publish(small_release(float16=b"half"), models, models / "MODEL_CARD.md")
    assert (models / "MODEL_CARD.md").read_text() == "kept"
    assert (models / "fine.float16.onnx").exists()


@pytest.mark.parametrize("failing", ["writing", "renaming", "interrupted"])
def test_a_failure_on_the_way_leaves_the_old_release_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    models = tmp_path / "models"
    publish(small_release(), models)
    before = _contents(models)
    real_rename = os.rename
    full = OSError(28, "No space left on device")

    def write(path: Path, content: bytes) -> int:
        raise full

    def rename(source: Any, target: Any) -> None:
        if Path(target) == models and Path(source).name == "new":
            raise KeyboardInterrupt if failing == "interrupted" else full
        real_rename(source, target)

    if failing == "writing":
        monkeypatch.setattr(Path, "write_bytes", write)
    else:
        monkeypatch.setattr(os, "rename", rename)
    expected = (KeyboardInterrupt, None) if failing == "interrupted" else (ExportError, "No space left on device")
    with pytest.raises(expected[0], match=expected[1]):
        publish(small_release(float16=b"half"), models)
    monkeypatch.undo()
    assert _contents(models) == before
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


def test_a_release_that_the_engine_would_refuse_does_not_appear(tmp_path: Path) -> None:
    release = small_release()
    swapped = Release(release.manifest, release.files | {"fine.onnx": b"other weights"})
    with pytest.raises(ExportError, match=r"the engine would not accept .*fine\.onnx is not the file"):
        publish(swapped, tmp_path / "models")
    incomplete = Release(release.manifest, {"fine.onnx": b"fine"})
    with pytest.raises(ExportError, match=r"coarse\.onnx, which is not there"):
        publish(incomplete, tmp_path / "models")
    unnamed = Release(release.manifest, release.files | {"extra.onnx": b"?"})
    with pytest.raises(ExportError, match=r"does not name extra\.onnx"):
        publish(unnamed, tmp_path / "models")
    boasting = msgspec.structs.replace(release.manifest.fine.variants[0], parity=(parity().row,))
    fine = msgspec.structs.replace(release.manifest.fine, variants=(boasting,))
    unproven = msgspec.structs.replace(release.manifest, fine=fine)
    with pytest.raises(ExportError, match=r"do not agree on where fine\.onnx of the fine stage passed in float32"):
        publish(Release(unproven, release.files), tmp_path / "models")
    contradictory = msgspec.structs.replace(release.manifest, roi_margin_mm=(-1.0, 0.0, 0.0))
    with pytest.raises(ExportError, match="roi_margin_mm"):
        publish(Release(contradictory, release.files), tmp_path / "models")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_something_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").touch()
    with pytest.raises(ExportError, match="holds other files than models"):
        publish(small_release(), tmp_path / "photos")
    assert (tmp_path / "photos" / "cat.png").exists()
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match="is a file"):
        publish(small_release(), tmp_path / "file")


def test_without_its_card_nothing_is_published(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="cannot read the model card"):
        publish(small_release(), tmp_path / "models", tmp_path / "nowhere.md")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_read_only_with_files_that_are_the_manifests(tmp_path: Path) -> None:
    publish(small_release(), tmp_path / "models")
    (tmp_path / "models" / "fine.onnx").write_bytes(b"fin")
    assert load_manifest(tmp_path / "models").release == "0.0.0"
    with pytest.raises(NetworkError, match=r"fine\.onnx is not the file"):
        read_release(tmp_path / "models")
