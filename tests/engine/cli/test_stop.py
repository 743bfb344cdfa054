"""A run that is told to stop ends soon, but not in the middle of an import."""

import importlib
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from attention_dmfnet.cli import main as command


@pytest.fixture
def _heeded() -> Iterator[None]:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)
    before = {number: signal.signal(number, command._stop) for number in numbers}
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_heeded")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_within_an_import_it_waits_until_that_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    (tmp_path / f"told_{number}.py").write_text(f"import signal\nsignal.raise_signal({int(number)})\nwhole = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    # the import as well: a busy machine may come back from it when the clock has asked again

    def imported_and_waited() -> None:
        importlib.import_module(f"told_{number}")
        time.sleep(600)

    with pytest.raises(KeyboardInterrupt):
        imported_and_waited()
    # Python forgets a module whose import did not come to its end
    assert sys.modules[f"told_{number}"].whole


@pytest.mark.usefixtures("_heeded")
def test_elsewhere_it_stops_at_once() -> None:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)


def test_what_a_shell_told_to_be_ignored_is_ignored(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert command.main(["predict", str(tmp_path / "nothing"), str(tmp_path / "out")]) == 2
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
