"""Where DICOM is looked for, and how far."""

import os
import shutil
import zipfile
from pathlib import Path

import pytest
from attention_dmfnet.dicom import sources
from attention_dmfnet.dicom.listing import list_dicom
from attention_dmfnet.dicom.sources import Reader, Source, find_sources
from attention_dmfnet.files.cases import InputError
from attention_dmfnet.files.image_io import write_volume
from pydicom.fileset import FileSet

from tests.engine.dicom.made import write_series
from tests.engine.tiny import block_phantom

CT = block_phantom((6, 24, 28))[0]


def _found(inputs: Path, outputs: Path | None = None) -> list[str]:
    with Reader() as reader:
        return [
            str(item if isinstance(item, Source) else item.source).removeprefix(f"{inputs}/")
            for item in find_sources(inputs, outputs, reader)
        ]


def test_files_are_found_by_content_in_folders_below_each_other(tmp_path: Path) -> None:
    write_series(CT, tmp_path / "patient" / "study" / "series", name="IM{:04}")
    write_series(CT, tmp_path / ".hidden")
    (tmp_path / "patient" / "notes.txt").write_text("text")
    (tmp_path / "patient" / ".IM0009").write_bytes(bytes(128) + b"DICM")
    write_volume(CT, tmp_path / "a.nii.gz")
    assert _found(tmp_path) == [f"patient/study/series/IM{k:04}" for k in range(6)]


def test_the_folder_for_outputs_is_not_looked_into(tmp_path: Path) -> None:
    write_series(CT, tmp_path / "in")
    write_series(CT, tmp_path / "out")
    assert len(_found(tmp_path)) == 12
    assert len(_found(tmp_path, tmp_path / "out")) == 6


def test_a_circle_of_links_ends_and_a_linked_folder_is_read_once(tmp_path: Path) -> None:
    write_series(CT, tmp_path / "elsewhere" / "series")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "circle").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "one").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "two").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / "in" / "pipe.dcm")
    assert _found(tmp_path / "in") == [f"one/series/{k:03}.dcm" for k in range(6)]


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MOST_FILES", 5)
    write_series(CT, tmp_path)
    with pytest.raises(InputError, match="more than 5 files"):
        list_dicom(tmp_path)


def test_an_archive_beside_a_folder_is_read_too(tmp_path: Path) -> None:
    write_series(CT, tmp_path / "in")
    shutil.make_archive(str(tmp_path / "in" / "second"), "zip", write_series(CT, tmp_path / "other")[0].parent)
    assert len(list_dicom(tmp_path / "in").cases) == 2


def test_a_member_that_says_less_than_it_holds_gives_no_more_than_it_says(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("bomb.dcm", bytes(50_000_000))
    content = archive.read_bytes()
    archive.write_bytes(content.replace((50_000_000).to_bytes(4, "little"), (5000).to_bytes(4, "little")))
    with Reader() as reader, pytest.raises(zipfile.BadZipFile):
        # zipfile stops at the stated size, where the checksum cannot be right
        reader.open_whole(Source(archive, "bomb.dcm"))
    assert "bomb.dcm" in list_dicom(archive).damaged[0].kind


def test_members_that_are_too_large_or_encrypted_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MOST_MEMBER_BYTES", 1000)
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("large.dcm", bytes(2000))
        file.writestr("__MACOSX/._x.dcm", bytes(10))
    (item,) = list_dicom(archive).damaged
    assert item.kind.startswith("large.dcm: it would unpack to more than")


def test_a_damaged_archive_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK no archive")
    (item,) = list_dicom(tmp_path / "a.zip").damaged
    assert "cannot be unpacked" in item.kind


def test_an_index_of_files_is_no_image(tmp_path: Path) -> None:
    files = FileSet()
    for path in write_series(CT, tmp_path / "in", StudyDate="20260101", StudyTime="120000", StudyID="1"):
        files.add(path)
    files.write(tmp_path / "set")
    assert "DICOMDIR" in _found(tmp_path / "set")
    listing = list_dicom(tmp_path / "set")
    assert (len(listing.cases), listing.series, listing.damaged) == (1, [], [])
