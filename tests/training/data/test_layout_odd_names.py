import os
from pathlib import Path

import pytest

from training.data.layouts import LayoutError, read_layout

LATIN_1 = os.fsdecode(b"M\xfcller")


@pytest.mark.parametrize("name", [LATIN_1, os.fsdecode(b"\xff"), "two\nlines"])
def test_a_scan_whose_name_is_not_utf_8_is_a_problem_by_name_and_costs_no_other(tmp_path: Path, name: str) -> None:
    for folder, end in (("images", "_0000"), ("labels", "")):
        (tmp_path / folder).mkdir()
        for case in (name, "b", "Müller"):
            (tmp_path / folder / f"{case}{end}.nii.gz").touch()
    raw = read_layout(tmp_path)
    assert [case.name for case in raw.cases] == ["Müller", "b"]
    assert len(raw.problems) == 2
    for problem in map(str, raw.problems):
        assert "rename it" in problem
        assert problem.isprintable()


def test_a_folder_whose_name_is_not_utf_8_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / LATIN_1 / "images").mkdir(parents=True)
    for raw in (tmp_path / LATIN_1, tmp_path):
        with pytest.raises(LayoutError, match=r"M\\xfcller is not UTF-8"):
            read_layout(raw)
