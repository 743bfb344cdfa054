import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from attention_dmfnet.cli.main import main
from attention_dmfnet.cli.run_report import gathered
from attention_dmfnet.cli.status import DONE, SOME_FAILED, UNUSABLE
from attention_dmfnet.files.cases import ScanFile
from attention_dmfnet.files.image_io import write_volume
from attention_dmfnet.folder import CaseReport
from attention_dmfnet.model.manifest import load_manifest
from attention_dmfnet.report import page
from attention_dmfnet.report.afterwards import read_record, report_case
from attention_dmfnet.report.run_report import RunReport

from tests.engine.tiny import block_phantom

ROOT = Path(__file__).parents[3]


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in ("a_0000.nii.gz", "b.nii.gz"):
        write_volume(block_phantom()[0], folder / name)
    return folder


def _predict(scans: Path, out: Path, models: Path, *options: str) -> int:
    return main(["predict", str(scans), str(out), "--models", str(models), "--device", "cpu", *options])


def _rows(out: Path) -> list[dict[str, str]]:
    with (out / "statistics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_report_makes_a_page_for_each_case_an_index_and_both_tables(scans: Path, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert _predict(scans, out, models, "--report") == DONE
    assert {path.name for path in (out / "report").iterdir()} == {"a.html", "b.html"}
    assert ">Probability<" in (out / "report" / "a.html").read_text()
    index = (out / "report.html").read_text()
    assert "2 done" in index
    assert 'href="report/a.html"' in index
    rows = _rows(out)
    assert [row["case"] for row in rows] == ["a"] * 13 + ["b"] * 13
    liver = rows[0]
    assert (liver["organ"], liver["volume_ml"], liver["hu_mean"]) == ("liver", "0.72", "-150.0")
    # the tiny network is not certain: its scores are squares of small numbers
    assert 0.05 < float(liver["mean_probability"]) < 1
    assert json.loads((out / "statistics.json").read_text())["cases"][1]["case"] == "b"


def test_a_report_afterwards_has_the_same_numbers_but_for_the_probability(
    scans: Path, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert _predict(scans, out, models, "--statistics") == DONE
    assert not (out / "report.html").exists()
    first = _rows(out)
    (out / "statistics.csv").unlink()
    capsys.readouterr()
    assert main(["report", str(out), "--scans", str(scans), "--models", str(models)]) == DONE
    # a column of nothing is no column
    assert ">Probability<" not in (out / "report" / "b.html").read_text()
    assert capsys.readouterr().out.splitlines() == ["a  in the report", "b  in the report"]
    assert (out / "report" / "b.html").exists()
    again = _rows(out)
    assert {row.pop("mean_probability") for row in again} == {""}
    assert all(float(row.pop("mean_probability")) > 0 for row in first)
    assert again == first


def test_cases_that_were_labelled_before_are_in_the_report(scans: Path, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert _predict(scans / "b.nii.gz", out, models) == DONE
    assert _predict(scans, out, models, "--report") == DONE
    assert "1 done, 1 skipped" in (out / "report.html").read_text()
    assert [row["case"] for row in _rows(out)] == ["a"] * 13 + ["b"] * 13
    assert (out / "report" / "b.html").exists()


def test_seconds_roi_and_notes_of_the_run_are_in_a_report_afterwards(scans: Path, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert _predict(scans, out, models) == DONE
    note = {"code": "organ-volume", "text": "a liver like no other"}
    case = {"case": "a", "status": "done", "seconds": {"total": 12.34}, "roi_mm": [10, 20, 30], "notes": [note]}
    (out / "run.json").write_text(json.dumps({"schema_version": 1, "runs": [], "cases": [case]}))
    assert main(["report", str(out), "--scans", str(scans), "--models", str(models)]) == DONE
    index = (out / "report.html").read_text()
    assert "12.3" in index
    # left-right, front-back, foot-head
    assert "30 × 20 × 10" in index
    assert "a liver like no other" in index
    assert "Look at the organ in all three planes" in index


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_case_that_was_labelled_before_has_the_time_and_roi_of_then(
    elsewhere: bool, scans: Path, models: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    record = tmp_path / "kept.json" if elsewhere else out / "run.json"
    options = ["--record", str(record)] if elsewhere else []
    assert _predict(scans / "b.nii.gz", out, models, *options) == DONE
    said = json.loads(record.read_text())
    said["cases"][0] |= {"seconds": {"total": 98.76}, "roi_mm": [11, 22, 33]}
    record.write_text(json.dumps(said))
    assert _predict(scans / "b.nii.gz", out, models, "--report", *options) == DONE
    index, own = (out / "report.html").read_text(), (out / "report" / "b.html").read_text()
    assert "98.8" in index
    assert "33 × 22 × 11" in index
    assert "33 × 22 × 11 mm" in own
    # the record keeps what it said, and the report afterwards has the same
    assert json.loads(record.read_text())["cases"][0]["seconds"] == {"total": 98.76}
    (out / "report.html").unlink()
    assert main(["report", str(out), "--scans", str(scans / "b.nii.gz"), "--models", str(models), *options]) == DONE
    assert "98.8" in (out / "report.html").read_text()


def test_a_label_map_that_was_replaced_since_has_no_time(scans: Path, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert _predict(scans / "b.nii.gz", out, models) == DONE
    assert _predict(scans / "a_0000.nii.gz", out, models, "--organs", "liver") == DONE
    (out / "a.nii.gz").replace(out / "b.nii.gz")
    said = json.loads((out / "run.json").read_text())
    for case in said["cases"]:
        case["seconds"] = {"total": 98.76}
    (out / "run.json").write_text(json.dumps(said))
    assert _predict(scans / "b.nii.gz", out, models, "--report") == DONE
    assert "98.8" not in (out / "report.html").read_text()


def test_a_label_map_that_cannot_be_read_takes_no_other_cases_time(scans: Path, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert _predict(scans, out, models) == DONE
    (out / "a.nii.gz").unlink()
    (out / "a.nii.gz").mkdir()
    recorded = read_record(out / "run.json")
    cases = [ScanFile(scans / name) for name in ("a_0000.nii.gz", "b.nii.gz")]
    assert [recorded.of(case, out) is not None for case in cases] == [False, True]


def test_a_record_that_is_not_there_is_refused(
    scans: Path, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["report", str(scans), "--scans", str(scans), "--models", str(models), "--record", "none.json"]
    assert main(arguments) == UNUSABLE
    assert "no such record: none.json" in capsys.readouterr().err


def test_numbers_and_pages_can_be_had_apart(scans: Path, models: Path, tmp_path: Path) -> None:
    for options, made in (
        (["--report", "--no-statistics"], {"report.html", "report"}),
        (["--statistics"], {"statistics.csv", "statistics.json"}),
    ):
        out = tmp_path / options[-1]
        assert _predict(scans, out, models, *options) == DONE
        there = {path.name for path in out.iterdir()}
        assert there - {"run.json"} == {"a.nii.gz", "b.nii.gz"} | made


def test_only_the_organs_that_are_asked_for_are_in_the_tables(scans: Path, models: Path, tmp_path: Path) -> None:
    assert _predict(scans, tmp_path / "out", models, "--statistics", "--organs", "spleen") == DONE
    assert [(row["case"], row["organ"]) for row in _rows(tmp_path / "out")] == [("a", "spleen"), ("b", "spleen")]


def test_a_case_without_its_label_map_is_named_and_the_others_are_in_the_report(
    scans: Path, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert _predict(scans / "b.nii.gz", out, models) == DONE
    assert main(["report", str(out), "--scans", str(scans), "--models", str(models)]) == SOME_FAILED
    assert "a  FAILED: there is no label map" in capsys.readouterr().out
    assert {row["case"] for row in _rows(out)} == {"b"}
    assert main(["report", str(tmp_path / "none"), "--scans", str(scans)]) == UNUSABLE


def test_without_the_viewer_a_report_is_refused_before_any_work(
    scans: Path, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(page, "_NIIVUE", "left-out.js")
    out = tmp_path / "out"
    assert _predict(scans, out, models, "--report") == UNUSABLE
    assert "attention-dmfnet report OUTPUTS --scans INPUTS" in capsys.readouterr().err
    assert not list(out.glob("*.nii.gz"))
    assert _predict(scans, out, models, "--statistics") == DONE


def test_a_case_cannot_put_html_into_the_pages(scans: Path, models: Path, tmp_path: Path) -> None:
    write_volume(block_phantom()[0], scans / "<script>alert(1)<.nii.gz")
    out = tmp_path / "out"
    assert _predict(scans, out, models, "--report") == DONE
    for made in (out / "report.html", out / "report" / "<script>alert(1)<.html"):
        assert "<script>alert(1)" not in made.read_text()
        assert "&lt;script&gt;alert(1)" in made.read_text()


def test_a_name_that_is_no_text_has_its_page_and_its_link(scans: Path, models: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9 #2")
    write_volume(block_phantom()[0], scans / f"{name}.nii.gz")
    out = tmp_path / "out"
    assert _predict(scans, out, models, "--report") == DONE
    assert (out / "report" / f"{name}.html").exists()
    assert 'href="report/caf%E9%20%232.html"' in (out / "report.html").read_text()
    assert _rows(out)[-1]["case"] == "caf\\xe9 #2"


def test_a_run_that_is_broken_off_has_a_report_of_what_is_done(scans: Path, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert _predict(scans / "b.nii.gz", out, models) == DONE
    report = RunReport(load_manifest(models).labels, "0.0.0")

    def broken_off() -> Iterator[CaseReport]:
        yield report_case(ScanFile(scans / "b.nii.gz"), out, report)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(gathered(broken_off(), report, out))
    assert len(_rows(out)) == 13
    assert "1 done" in (out / "report.html").read_text()


def test_what_is_not_asked_for_is_not_imported(scans: Path, models: Path, tmp_path: Path) -> None:
    seen = {}
    for options in ((), ("--statistics",)):
        arguments = ["predict", str(scans), str(tmp_path / f"out{len(options)}"), "--models", str(models), *options]
        program = f"import sys\nfrom attention_dmfnet.cli.main import main\nassert main({arguments}) == 0\n"
        program += "print(*(m for m in sys.modules if m.partition('.')[0] in ('PIL', 'jinja2') or '.report' in m "
        program += "or m.endswith('probability')))"
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
        seen[options] = set(done.stdout.splitlines()[-1].split())
    assert seen[()] == set()
    # numbers alone need no pictures
    assert not [module for module in seen[("--statistics",)] if module.partition(".")[0] in ("PIL", "jinja2")]
