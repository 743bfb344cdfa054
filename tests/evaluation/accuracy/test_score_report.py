import csv
from pathlib import Path

import pytest
from PIL import Image

from evaluation.accuracy.flare22 import OrganScore
from evaluation.accuracy.score import CaseScore
from evaluation.accuracy.score_report import organisers_csv, summary, write_reports
from evaluation.errors import EvaluationError

ORGANISERS_HEADER = (
    "Name,Liver_DSC,RK_DSC,Spleen_DSC,Pancreas_DSC,Aorta_DSC,IVC_DSC,RAG_DSC,LAG_DSC,Gallbladder_DSC,Esophagus_DSC,"
    "Stomach_DSC,Duodenum_DSC,LK_DSC,Liver_NSD,RK_NSD,Spleen_NSD,Pancreas_NSD,Aorta_NSD,IVC_NSD,RAG_NSD,LAG_NSD,"
    "Gallbladder_NSD,Esophagus_NSD,Stomach_NSD,Duodenum_NSD,LK_NSD"
)

SCORES = [
    CaseScore("A.nii.gz", {1: OrganScore(0.9, 0.8), 13: OrganScore(1 / 3, 0.0)}),
    CaseScore("B.nii.gz", {1: OrganScore(0.7, 0.6)}),
]


def test_the_columns_are_the_organisers() -> None:
    assert organisers_csv(SCORES).splitlines()[0] == ORGANISERS_HEADER


def test_scores_have_four_decimals_and_an_organ_that_was_not_scored_none() -> None:
    rows = list(csv.DictReader(organisers_csv(SCORES).splitlines()))
    assert (rows[0]["Name"], rows[0]["Liver_DSC"], rows[0]["Liver_NSD"]) == ("A.nii.gz", "0.9000", "0.8000")
    assert (rows[0]["LK_DSC"], rows[0]["LK_NSD"]) == ("0.3333", "0.0000")
    assert (rows[1]["LK_DSC"], rows[1]["Spleen_NSD"]) == ("", "")


def test_the_summary_averages_over_the_cases_that_were_scored() -> None:
    lines = {line[:20].strip(): line[20:].split() for line in summary(SCORES).splitlines()}
    assert lines["liver"] == ["2", "0.8000", "±", "0.1000", "0.7000", "±", "0.1000"]
    assert lines["left kidney"] == ["1", "0.3333", "±", "0.0000", "0.0000", "±", "0.0000"]
    assert lines["spleen"] == ["0", "-", "-"]
    # of liver 0.8 and left kidney 0.3333
    assert lines["mean over organs"][:2] == ["2", "0.5667"]


def test_the_table_and_a_box_plot_are_written(tmp_path: Path) -> None:
    text = write_reports(SCORES, tmp_path / "new" / "scores.csv", tmp_path / "new" / "scores.png")
    assert text == summary(SCORES)
    assert (tmp_path / "new" / "scores.csv").read_text() == organisers_csv(SCORES)
    with Image.open(tmp_path / "new" / "scores.png") as plot:
        assert plot.format == "PNG"
        assert plot.convert("L").getextrema() == (0, 255)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EvaluationError, match=r"file/scores\.csv"):
        write_reports(SCORES, tmp_path / "file" / "scores.csv", None)
