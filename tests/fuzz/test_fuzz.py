"""A minute of fuzzing at most (``FUZZ_SECONDS``), the same mutants each time; ``make fuzz MINUTES=30`` reads others."""

import os
import sys
from pathlib import Path

import pytest

from tests.fuzz.__main__ import main
from tests.fuzz.campaign import fuzz
from tests.fuzz.targets import TARGETS, faults_said

ROOT = Path(__file__).resolve().parents[2]
MOST = 60
"""Mutants of each kind of file, at most: what a test reads must not depend on how fast the machine is."""

SECONDS = float(os.environ.get("FUZZ_SECONDS", "60"))


@pytest.mark.parametrize("target", TARGETS)
def test_a_reader_returns_or_raises_its_own_error_in_one_sentence_whatever_the_file(target: str) -> None:
    found = fuzz(target, first=0, seconds=SECONDS / len(TARGETS), most=MOST)
    assert found.mutants > len(TARGETS[target].seeds())
    assert not found.kinds, f"{found.kinds}; see them with `python -m tests.fuzz --target {target} --number N --save .`"


def test_the_same_number_is_the_same_mutant() -> None:
    for target in TARGETS.values():
        assert target.mutant(12345) == target.mutant(12345)
    assert len({TARGETS["nifti"].mutant(number)[1] for number in range(100)}) > 90


READERS = {
    "raises another error": "raise KeyError('x')",
    "says it in two lines": "raise ValueError('one\\ntwo')",
    "says nothing": "raise ValueError('')",
    "crashes": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
    "takes memory": "size = path.stat().st_size; bytearray(1 << 28)",
    "asks for more memory than there is": "np.zeros(1 << 34, np.uint8)",
    "takes time": "import time\n    began = time.process_time()\n    while time.process_time() < began + 6: pass",
}


@pytest.mark.parametrize("fault", READERS)
def test_each_kind_of_fault_of_a_reader_is_found(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: a harness that sees nothing would pass everything."""
    code = (
        f"import sys\nsys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'engine')!r}]\n"
        "import numpy as np\nfrom tests.fuzz import targets, worker\n"
        "def run(path, folder):\n"
        f"  if path.read_bytes() == targets.TARGETS['nifti'].seeds()[1].read_bytes():\n    {READERS[fault]}\n"
        "  return []\n"
        "targets.TARGETS['nifti'] = targets.Target('nifti', lambda: (run, (ValueError,)), targets.mutations.nifti)\n"
        "import sys; worker.main(sys.argv[2], worker.Path(sys.argv[3]))\n"
    )
    (tmp_path / "broken_worker.py").write_text(code)
    program = tmp_path / "python"
    program.write_text(f'#!/bin/sh\nshift 2\nexec "{sys.executable}" "{tmp_path}/broken_worker.py" worker "$@"\n')
    program.chmod(0o755)
    monkeypatch.setattr("tests.fuzz.campaign.sys.executable", str(program))
    assert fuzz("nifti", first=0, seconds=0.0).kinds


def test_a_finding_is_made_again_by_its_number(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def ask(process: object, number: int) -> None:
        asked.append(number)

    monkeypatch.setattr("tests.fuzz.campaign._ask", ask)
    monkeypatch.setattr("sys.argv", ["fuzz", "--target", "manifest", "--number", "1234"])
    assert main() == 0
    # the seed before it, because the limit on memory is set after one
    assert asked == [0, 1234]
    assert capsys.readouterr().out == "2 mutants (manifest 2), 0 findings\n"


def test_sentences_are_judged() -> None:
    assert faults_said(["cannot read x: it is cut short; copy it again"]) == []
    assert all(faults_said([text]) for text in ("", "a\nb", "x" * 4000, "not enough memory for 1 x 1 voxels"))


@pytest.mark.parametrize("name", sorted(set(TARGETS) - {"run-folder"}))
def test_every_seed_is_a_good_file(name: str, tmp_path: Path) -> None:
    """Mutants of a file that is refused at once would try nothing."""
    target = TARGETS[name]
    run, _ = target.begin()
    for number in range(len(target.seeds())):
        folder = tmp_path / str(number)
        run(target.lay_out(number, folder), folder)
