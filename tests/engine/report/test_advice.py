import re
from pathlib import Path

from attention_dmfnet.report.advice import ADVICE, advice_for

ROOT = Path(__file__).parents[3]


def _documented_codes() -> set[str]:
    notes = (ROOT / "docs" / "input-output.md").read_text().split("### Notes")[1].split("\n### ")[0]
    return set(re.findall(r"^\| .* \| `([a-z0-9-]+)`", notes, flags=re.MULTILINE))


def test_every_note_says_what_to_do() -> None:
    codes = _documented_codes()
    assert "organ-cut" in codes
    assert codes <= ADVICE.keys()
    assert all(advice_for(code)[-1] in ".?" for code in codes)


def test_no_advice_is_for_a_note_that_is_never_given() -> None:
    assert ADVICE.keys() <= _documented_codes()


def test_a_code_of_a_later_version_has_no_advice() -> None:
    assert advice_for("a-code-of-tomorrow") == ""
