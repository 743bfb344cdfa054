"""``patients.csv`` as spreadsheets save it: never a traceback, and the line that is wrong is named."""

from pathlib import Path

import pytest

from training.data.layouts import RawFolder, read_layout

ROWS = "case,patient\na,Müller\nb_0000.nii.gz,Müller\nc,Weiß\n"


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Three cases, by the names of their files."""
    for folder, ending in (("images", "_0000"), ("labels", "")):
        (tmp_path / folder).mkdir()
        for name in "abc":
            (tmp_path / folder / f"{name}{ending}.nii.gz").touch()
    return tmp_path


def _patients(raw: RawFolder) -> list[str]:
    return [case.patient for case in raw.cases]


SAVED = {
    "UTF-8": ROWS.encode(),
    "Excel's UTF-8, with a mark": ROWS.encode("utf-8-sig"),
    "Excel's Unicode text": ROWS.replace(",", "\t").encode("utf-16"),
    "Latin-1": ROWS.encode("latin-1"),
    "a spreadsheet in Germany": ROWS.replace(",", ";").encode("cp1252"),
    "Windows' line ends": ROWS.replace("\n", "\r\n").encode(),
    "capitals and spaces": ROWS.replace("case,patient", "Case , Patient").encode(),
    "a third column": ROWS.replace("\n", ",x\n").encode(),
    "empty lines at the end": (ROWS + "\n,\n\n").encode(),
}


@pytest.mark.parametrize("how", SAVED)
def test_patients_are_read_however_the_table_was_saved(how: str, raw: Path) -> None:
    (raw / "patients.csv").write_bytes(SAVED[how])
    found = read_layout(raw)
    assert found.problems == ()
    assert _patients(found) == ["Müller", "Müller", "Weiß"]


WRONG = {
    "a short row": (ROWS.replace("a,Müller", "a"), "line 2 names no patient"),
    "no patient": (ROWS.replace("c,Weiß", "c,"), "line 4 names no patient"),
    "other columns": (ROWS.replace("case,patient", "name,who"), "has the columns name, who"),
    "nothing": ("", "has the columns none"),
    "a case that is not there": (ROWS + "d,Müller\n", "names a case 'd' that is not there"),
    "two patients": (ROWS + "a,Weiß\n", "gives a two patients"),
    "a quote without an end": (ROWS + '"a,' + "x" * 200_000, "is no table: line 5"),
}


@pytest.mark.parametrize("how", WRONG)
def test_what_is_wrong_with_the_table_is_said_with_its_line(how: str, raw: Path) -> None:
    content, words = WRONG[how]
    (raw / "patients.csv").write_text(content, encoding="utf-8")
    problems = [str(problem) for problem in read_layout(raw).problems]
    assert any(words in problem and "patients.csv" in problem for problem in problems), problems
    assert all("\n" not in problem and len(problem) < 1500 for problem in problems)
