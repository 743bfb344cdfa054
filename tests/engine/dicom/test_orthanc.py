"""A real archive: Orthanc takes SEG and RTSTRUCT, lists them beside the scan's study, and gives them back whole."""

import contextlib
import io
import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from attention_dmfnet.dicom.rtstruct import write_rtstruct
from attention_dmfnet.dicom.seg import write_seg
from pydicom import Dataset
from pydicom.uid import RTStructureSetStorage, SegmentationStorage

from tests.engine.dicom.stored_series import small_grid, stored
from tests.engine.dicom.test_seg import ALGORITHM, NUMBERS, _labels
from tests.engine.dicom.verifier import needed

_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


class Archive:
    """Orthanc's REST interface on loopback."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"

    def ask(self, path: str, body: bytes | None = None, kind: str = "application/dicom", takes: str = "*/*") -> bytes:
        request = urllib.request.Request(self.address + path, body, {"Content-Type": kind, "Accept": takes})
        with urllib.request.urlopen(request, timeout=60) as answer:
            content: bytes = answer.read()
        return content

    def list(self, path: str) -> Any:
        return json.loads(self.ask(path, takes="application/json"))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    program = needed("Orthanc", "orthanc")
    folder = tmp_path_factory.mktemp("orthanc")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "index"),
        "HttpPort": port,
        "HttpBindAddresses": ["127.0.0.1"],
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomServerEnabled": False,
        "Plugins": [str(_PLUGIN)] if _PLUGIN.exists() else [],
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "log").open("w") as log:
        running = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=log, stderr=log)
        try:
            _wait_for(Archive(port), running, folder / "log")
            yield Archive(port)
        finally:
            running.terminate()
            running.wait(60)


def _wait_for(archive: Archive, running: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(240):
        assert running.poll() is None, log.read_text()
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            archive.ask("/system")
            return
        time.sleep(0.25)
    raise AssertionError(log.read_text())


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Dataset], Path, Path]:
    folder = tmp_path_factory.mktemp("objects")
    sources = stored(small_grid())
    seg, structures = folder / "a.seg.dcm", folder / "a.rtstruct.dcm"
    write_seg(sources, _labels(small_grid()), NUMBERS, ALGORITHM, seg)
    write_rtstruct(sources, _labels(small_grid()), NUMBERS, ALGORITHM, structures)
    return sources, seg, structures


def _as_file(image: Dataset) -> bytes:
    whole = Dataset(image)
    whole.PixelData = bytes(2 * image.Rows * image.Columns)
    file = io.BytesIO()
    whole.file_meta = pydicom.dataset.FileMetaDataset()
    whole.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    whole.save_as(file, enforce_file_format=True)
    return file.getvalue()


def test_it_stores_lists_and_returns_them(archive: Archive, written: tuple[list[Dataset], Path, Path]) -> None:
    sources, seg, structures = written
    archive.ask("/instances", _as_file(sources[0]))
    for path, modality in ((seg, "SEG"), (structures, "RTSTRUCT")):
        stored_as = json.loads(archive.ask("/instances", path.read_bytes()))
        assert stored_as["Status"] == "Success"
        assert archive.ask(f"/instances/{stored_as['ID']}/file") == path.read_bytes()
        series = archive.list(f"/series/{stored_as['ParentSeries']}")
        assert series["MainDicomTags"]["Modality"] == modality
        # beside the scan: in its patient's study, not in one of their own
        assert archive.list(f"/studies/{series['ParentStudy']}")["MainDicomTags"]["StudyInstanceUID"] == (
            sources[0].StudyInstanceUID
        )
    (study,) = archive.list("/studies")
    kinds = {
        archive.list(f"/series/{one}")["MainDicomTags"]["Modality"]
        for one in archive.list(f"/studies/{study}")["Series"]
    }
    assert kinds == {"CT", "SEG", "RTSTRUCT"}
    assert len(archive.list("/patients")) == 1


def test_viewers_find_and_get_them_by_dicomweb(archive: Archive, written: tuple[list[Dataset], Path, Path]) -> None:
    if not _PLUGIN.exists():
        needed(str(_PLUGIN), "orthanc-dicomweb")
    sources, seg, structures = written
    study = f"/dicom-web/studies/{sources[0].StudyInstanceUID}"
    for path, kind in ((seg, SegmentationStorage), (structures, RTStructureSetStorage)):
        object_ = pydicom.dcmread(path)
        # STOW-RS, as OHIF and any PACS send
        body = b"--part\r\nContent-Type: application/dicom\r\n\r\n" + path.read_bytes() + b"\r\n--part--"
        answer = archive.ask(
            study, body, 'multipart/related; type="application/dicom"; boundary=part', takes="application/dicom+json"
        )
        assert "00081199" in json.loads(answer), "no instance was stored"
        found = archive.list(f"{study}/series/{object_.SeriesInstanceUID}/instances")
        assert found[0]["00080016"]["Value"] == [kind]
        (metadata,) = archive.list(f"{study}/series/{object_.SeriesInstanceUID}/metadata")
        assert metadata["00080018"]["Value"] == [object_.SOPInstanceUID]
