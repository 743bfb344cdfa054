"""A real archive: Orthanc takes SEG and RTSTRUCT, lists them beside the scan's study, and gives them back whole."""

import contextlib
import io
import json
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

from tests.engine.dicom.made import write_series
from tests.engine.dicom.stored_series import small_grid, stored
from tests.engine.dicom.test_seg import ALGORITHM, NUMBERS, _labels
from tests.engine.dicom.verifier import needed
from tests.engine.tiny import block_phantom
from tests.ports import free_port
from tests.test_viewers_page import blocks_of, command_with, typed

_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


class Archive:
    """Orthanc's REST interface on loopback."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"

    def ask(self, path: str, body: bytes | None = None, kind: str = "application/dicom", takes: str = "*/*") -> bytes:
        request = urllib.request.Request(self.address + path, body, {"Content-Type": kind, "Accept": takes})
        with urllib.request.urlopen(request, timeout=600) as answer:
            content: bytes = answer.read()
        return content

    def list(self, path: str) -> Any:
        return json.loads(self.ask(path, takes="application/json"))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    program = needed("Orthanc", "orthanc")
    folder = tmp_path_factory.mktemp("orthanc")
    port = free_port()
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
            running.wait(600)


def _wait_for(archive: Archive, running: "subprocess.Popen[bytes]", log: Path) -> None:
    until_s = time.monotonic() + 600
    while time.monotonic() < until_s:
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


def test_it_answers_what_ohif_asks(archive: Archive, written: tuple[list[Dataset], Path, Path]) -> None:
    """The questions that OHIF 3.12 was seen to ask when it opened a study and its SEG, in their order."""
    if not _PLUGIN.exists():
        needed(str(_PLUGIN), "orthanc-dicomweb")
    sources, seg, structures = written
    for content in (_as_file(sources[0]), seg.read_bytes(), structures.read_bytes()):
        archive.ask("/instances", content)
    uid = sources[0].StudyInstanceUID
    fields = "includefield=00081030%2C00080060"
    (study,) = archive.list(
        f"/dicom-web/studies?limit=101&offset=0&fuzzymatching=false&{fields}&StudyInstanceUID={uid}"
    )
    assert set(study["00080061"]["Value"]) == {"CT", "SEG", "RTSTRUCT"}
    listed = archive.list(f"/dicom-web/studies/{uid}/series?includefield=00080021%2C00080031%2C0008103E%2C00200011")
    series = {one["00080060"]["Value"][0]: one["0020000E"]["Value"][0] for one in listed}
    assert set(series) == {"CT", "SEG", "RTSTRUCT"}
    (described,) = archive.list(f"/dicom-web/studies/{uid}/series/{series['SEG']}/metadata")
    # what OHIF lays it over, and what it shows beside it
    assert described["00081115"]["Value"][0]["0020000E"]["Value"] == [sources[0].SeriesInstanceUID]
    assert len(described["00620002"]["Value"]) == 13
    image = f"/dicom-web/studies/{uid}/series/{series['CT']}/instances/{sources[0].SOPInstanceUID}/frames/1"
    frame = archive.ask(image, takes="multipart/related; type=application/octet-stream")
    assert len(frame) >= 2 * sources[0].Rows * sources[0].Columns
    for path, kind in ((seg, "SEG"), (structures, "RTSTRUCT")):
        sent = pydicom.dcmread(path)
        answer = archive.ask(
            f"/dicom-web/studies/{uid}/series/{series[kind]}/instances/{sent.SOPInstanceUID}",
            takes="multipart/related; type=application/dicom",
        )
        boundary, _, content = answer.partition(b"\r\n\r\n")
        got = pydicom.dcmread(io.BytesIO(content.rpartition(b"\r\n" + boundary.split(b"\r\n")[0])[0]))
        # Orthanc spells out the types of an RTSTRUCT on the way, so that its bytes are others
        assert got == sent


def test_what_the_page_on_ohif_says_is_typed(archive: Archive, tmp_path: Path, models: Path) -> None:
    if not _PLUGIN.exists():
        needed(str(_PLUGIN), "orthanc-dicomweb")
    needed("curl", "curl")

    def same_frame(image: Dataset, _: int) -> None:
        image.FrameOfReferenceUID = "1.5"

    write_series(block_phantom()[0], tmp_path / "study", same_frame, study_uid="1.2.77")
    command_with(models, tmp_path / "bin")
    lines = blocks_of("OHIF with Orthanc")[0]
    assert "http://localhost:8042" in lines
    said = typed(lines.replace("http://localhost:8042", archive.address), tmp_path)
    # the lines of `predict` come first
    ours = [one for one in json.loads(said[said.index("[{") :]) if one["0020000D"]["Value"] == ["1.2.77"]]
    assert sorted(one["00080060"]["Value"][0] for one in ours) == ["CT", "RTSTRUCT", "SEG"]
