"""``run.json``: what is in it, when it is written, and what it never does."""

import argparse
import errno
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from attention_dmfnet import __version__
from attention_dmfnet.cli import predict, record
from attention_dmfnet.cli.main import main
from attention_dmfnet.cli.parser import parse
from attention_dmfnet.cli.record import CaseRecord, ModelsRecord, Record, RunRecord, RunRecorder, RuntimeRecord
from attention_dmfnet.cli.status import DONE, SOME_FAILED, UNUSABLE
from attention_dmfnet.files.image_io import write_volume
from attention_dmfnet.folder import CaseReport
from attention_dmfnet.notes import Note

from tests.engine.tiny import block_phantom

ROOT = Path(__file__).parents[3]


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        write_volume(block_phantom()[0], tmp_path / "in" / f"{name}.nii.gz")
    return tmp_path / "in"


def _predict(scans: Path, models: Path, *options: str) -> int:
    return main(["predict", str(scans), str(scans.parent / "out"), "--models", str(models), *options])


def _read(path: Path) -> Any:
    return json.loads(path.read_bytes())


class _Bucket:
    """Cases that are labelled elsewhere: ``stands_in`` is a folder here, and what was typed is a URL."""

    def __init__(self, stands_in: Path, record: Path) -> None:
        self.options = argparse.Namespace(inputs="s3://archive/in", outputs="s3://archive/out", device="cuda")
        self._stands_in, self._record = str(stands_in), record
        self.seen: list[Any] = []

    def __call__(self, work: predict.Work, earlier: object) -> Iterator[CaseReport]:
        for case in work.found.cases:
            note = Note("code", f"a note on {case.path}")
            yield CaseReport(case.name, "failed", "", notes=(note,), error=f"cannot read {case.path}")
            # as each case ends
            self.seen.append(_read(self._record))

    def hashes(self, case: str) -> Mapping[str, str]:
        return {}

    def told(self, text: str) -> str:
        return text.replace(self._stands_in, "s3://archive/in")


def test_a_record_of_places_elsewhere_names_them_from_the_first_case_on(
    scans: Path, models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = scans.parent / "out"
    options = parse(["predict", str(scans), str(out), "--models", str(models)])
    bucket = _Bucket(scans, out / "run.json")
    assert predict.run(options, bucket) == SOME_FAILED
    first = bucket.seen[0]
    assert first["runs"][0]["options"] == vars(bucket.options)
    assert first["runs"][0]["exit_status"] is None
    (case,) = first["cases"]
    assert (case["error"], case["notes"][0]["text"]) == (
        "cannot read s3://archive/in/a.nii.gz",
        "a note on s3://archive/in/a.nii.gz",
    )

    def denied(folder: Path) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied")

    # and where it cannot be written
    monkeypatch.setattr(record, "_locked", denied)
    elsewhere = _Bucket(scans.parent, out / "run.json")
    assert predict.run(options, elsewhere) == SOME_FAILED
    assert "cannot write s3://archive/in/out/run.json: Permission denied; " in capsys.readouterr().err


def test_a_record_tells_what_made_each_label_map(scans: Path, models: Path) -> None:
    (scans / "c.nii.gz").write_bytes(b"no scan")
    assert _predict(scans, models, "--device", "cpu", "--organs", "liver") == SOME_FAILED
    found = _read(scans.parent / "out" / "run.json")
    (run,) = found["runs"]
    assert (found["schema_version"], run["exit_status"]) == (1, SOME_FAILED)
    assert run["started"] <= run["ended"]
    assert run["versions"]["attention-dmfnet"] == __version__
    assert {"numpy", "openvino"} <= run["versions"].keys()
    assert (run["options"]["device"], run["options"]["organs"]) == ("cpu", ["liver"])
    assert run["options"]["inputs"] == str(scans)
    assert (run["runtime"]["backend"], run["runtime"]["precisions"]) == ("openvino", ["float32", "float32"])
    for file in run["models"]["files"]:
        assert file["sha256"] == hashlib.sha256((models / file["file"]).read_bytes()).hexdigest()
    assert [file["file"] for file in run["models"]["files"]] == ["coarse.onnx", "fine.onnx"]
    a, _, c = found["cases"]
    assert (a["case"], a["status"], a["run"]) == ("a", "done", run["id"])
    assert a["sha256"] == hashlib.sha256((scans.parent / "out" / a["output"]).read_bytes()).hexdigest()
    assert a["volumes_ml"] == {"liver": 0.72}
    assert "fine" in a["seconds"]
    assert a["notes"][0]["code"] == "not-an-adult"
    assert (c["status"], c["sha256"]) == ("failed", None)
    assert "c.nii.gz" in c["error"]


def test_further_outputs_have_their_hashes_too(scans: Path, models: Path) -> None:
    out = scans.parent / "out"
    assert _predict(scans, models, "--seg-nrrd") == DONE
    for case in _read(out / "run.json")["cases"]:
        file = f"{case['case']}.seg.nrrd"
        assert case["further"] == {file: hashlib.sha256((out / file).read_bytes()).hexdigest()}


def test_a_second_run_keeps_the_cases_of_the_first(scans: Path, models: Path) -> None:
    out = scans.parent / "out"
    assert _predict(scans, models) == DONE
    first = _read(out / "run.json")
    (out / "b.nii.gz").unlink()
    assert _predict(scans, models, "--backend", "onnxruntime") == DONE
    second = _read(out / "run.json")
    assert second["cases"][0] == first["cases"][0]
    assert [case["run"] for case in second["cases"]] == [run["id"] for run in second["runs"]]
    assert [run["runtime"]["backend"] for run in second["runs"]] == ["openvino", "onnxruntime"]
    # of the first two nothing is left
    assert _predict(scans, models, "--overwrite") == DONE
    third = _read(out / "run.json")
    assert len(third["runs"]) == 1
    assert [case["case"] for case in third["cases"]] == ["a", "b"]


def test_a_record_lies_where_it_is_asked_for_or_nowhere(scans: Path, models: Path) -> None:
    out = scans.parent / "out"
    assert _predict(scans, models, "--no-record") == DONE
    assert sorted(os.listdir(out)) == ["a.nii.gz", "b.nii.gz"]
    # the last one counts: predict.sh begins with --no-record
    assert _predict(scans, models, "--no-record", "--record", str(scans.parent / "mine.json")) == DONE
    assert sorted(os.listdir(out)) == ["a.nii.gz", "b.nii.gz"]
    found = _read(scans.parent / "mine.json")
    # both were there already, and no network was asked
    assert [case["status"] for case in found["cases"]] == ["skipped", "skipped"]
    assert found["runs"][0]["models"] is None


def test_the_organisers_command_leaves_label_maps_alone(scans: Path, models: Path) -> None:
    out = scans.parent / "out"
    command = ["sh", str(ROOT / "predict.sh"), str(scans), str(out), "--models", str(models), "--device", "cpu"]
    subprocess.run(command, check=True, capture_output=True)
    assert sorted(os.listdir(out)) == ["a.nii.gz", "b.nii.gz"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b'{"my": "own"}', "run.json is there and no record of version 1 (Object missing required field"),
        (b'{"schema_version": 2, "runs": [], "cases": []}', "run.json is there and no record of version 1 (Invalid"),
        (b"", "run.json is there and no record of version 1 ("),
    ],
)
def test_a_file_that_is_no_record_is_refused_and_not_replaced(
    content: bytes, sentence: str, scans: Path, models: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (scans.parent / "out").mkdir()
    (scans.parent / "out" / "run.json").write_bytes(content)
    assert _predict(scans, models) == UNUSABLE
    err = capfd.readouterr().err
    assert sentence in err
    assert "name another file with --record, or give --no-record" in err
    assert (scans.parent / "out" / "run.json").read_bytes() == content
    assert os.listdir(scans.parent / "out") == ["run.json"]
    assert _predict(scans, models, "--record", str(scans.parent / "nowhere" / "run.json")) == UNUSABLE
    assert "there is no folder" in capfd.readouterr().err


def _report(name: str) -> CaseReport:
    return CaseReport(name, "done", f"{name}.nii.gz", {"fine": 1.0}, (1.0, 2.0, 3.0), {"liver": 5.0}, (Note("x", "y"),))


def test_the_record_of_a_run_that_was_killed_holds_the_cases_before(tmp_path: Path) -> None:
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom attention_dmfnet.cli.record import RunRecorder\n"
        "from attention_dmfnet.folder import CaseReport\n"
        f"recorder = RunRecorder(Path({str(tmp_path / 'run.json')!r}), {{}})\n"
        "recorder.add(CaseReport('a', 'done', 'a.nii.gz'))\nos.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False)
    assert done.returncode == -signal.SIGKILL
    found = _read(tmp_path / "run.json")
    assert [case["case"] for case in found["cases"]] == ["a"]
    assert (found["runs"][0]["ended"], found["runs"][0]["exit_status"]) == (None, None)


def test_an_interrupted_run_says_so(tmp_path: Path) -> None:
    def interrupted() -> None:
        with RunRecorder(tmp_path / "run.json", {}) as recorder:
            recorder.add(_report("a"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert _read(tmp_path / "run.json")["runs"][0]["exit_status"] == 130


def test_two_engines_side_by_side_lose_no_case(tmp_path: Path) -> None:
    with RunRecorder(tmp_path / "run.json", {}) as one, RunRecorder(tmp_path / "run.json", {}) as other:
        for number in range(4):
            one.add(_report(f"one{number}"))
            other.add(_report(f"other{number}"))
    found = _read(tmp_path / "run.json")
    assert len(found["cases"]) == 8
    assert len(found["runs"]) == 2


def test_writing_takes_a_hundredth_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock of our own: a case takes 1 s, and a write as many ms as there are cases."""
    now = [0.0]
    writes: list[float] = []

    class Clock:
        perf_counter = staticmethod(lambda: now[0])
        gmtime, strftime, sleep = time.gmtime, time.strftime, time.sleep

    def merged(there: Record, run: RunRecord, cases: dict[str, CaseRecord]) -> Record:
        now[0] += 0.001 * len(cases)
        writes.append(now[0])
        return Record(1, [run], list(cases.values()))

    monkeypatch.setattr(record, "time", Clock)
    monkeypatch.setattr(record, "_merged", merged)
    with RunRecorder(tmp_path / "run.json", {}) as recorder:
        for number in range(100):
            now[0] += 1
            recorder.add(_report(str(number)))
    # each of the first ten, which take 10 ms at most; at the end one in about ten, and the last
    assert [round(when) for when in writes[:10]] == list(range(1, 11))
    assert 20 < len(writes) < 40
    assert len(_read(tmp_path / "run.json")["cases"]) == 100


def test_a_disk_that_is_full_costs_the_record_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(record, "replacing", full)
    with RunRecorder(tmp_path / "run.json", {}) as recorder:
        recorder.add(_report("a"))
    expected = f"cannot write {tmp_path / 'run.json'}: No space left on device; the label maps are complete\n"
    assert capsys.readouterr().err == expected


def test_names_that_are_not_utf_8_are_escaped(tmp_path: Path) -> None:
    with RunRecorder(tmp_path / "run.json", {"inputs": Path(os.fsdecode(b"/in\xe9"))}) as recorder:
        recorder.add(_report("\udce9"))
    found = _read(tmp_path / "run.json")
    assert found["cases"][0]["case"] == "\\xe9"
    assert found["runs"][0]["options"]["inputs"] == "/in\\xe9"


def test_nothing_heavy_is_imported_for_it_before_the_networks_load() -> None:
    program = (
        "import sys\nimport attention_dmfnet.cli.record\n"
        "print([m for m in ('numpy', 'SimpleITK', 'cc3d', 'importlib.metadata') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_python_of_the_page_finds_a_label_map_that_was_changed(scans: Path, models: Path) -> None:
    assert _predict(scans, models) == DONE
    labels = (scans.parent / "out").rename(scans.parent / "labels")
    (labels / "b.nii.gz").write_bytes(b"changed")
    text = (ROOT / "docs" / "run-record.md").read_text(encoding="utf-8")
    program = text.partition("```python\n")[2].partition("```")[0]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=labels.parent, capture_output=True, text=True, check=True
    )
    assert done.stdout == "b.nii.gz was changed since\n"


def test_the_page_names_every_field() -> None:
    text = (ROOT / "docs" / "run-record.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", text, re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"\w+", row)]
    structs = (Record, RunRecord, CaseRecord)
    assert named == [field.name for struct in structs for field in msgspec.structs.fields(struct)]
    for struct in (RuntimeRecord, ModelsRecord):
        for field in msgspec.structs.fields(struct):
            assert f"`{field.name}`" in text
