"""Items of any kind, done by many machines: each one's name and error are told once, whoever has ended it."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import cluster.folder_job
from cluster.dispatch import Rules
from cluster.folder_job import Needs, do_all, timed
from cluster.ledger import LEDGER_NAME, Ending, Ledger
from tests.cluster.inline import InlineCrew


@pytest.fixture(autouse=True)
def _inline(monkeypatch: pytest.MonkeyPatch) -> None:
    def crew(make: Callable[[], Any], payload_of: Any, *_: object) -> InlineCrew:
        return InlineCrew(SimpleNamespace(make=make), payload_of, Rules(0))  # type: ignore[arg-type]

    monkeypatch.setattr(cluster.folder_job, "RayCrew", crew)


def test_what_failed_here_and_at_another_coordinator_is_told_in_the_same_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(payload: str) -> str | None:
        if payload != "first":
            return None
        # two are in flight here: another coordinator takes the third
        with Ledger(tmp_path / LEDGER_NAME, "model") as other:
            other.prepare(["c"], {})
            assert other.claim(1) == ["c"]
            other.end("c", Ending("elsewhere", error="no\nscan"))
        return "damaged"

    items = {"a": "first", "b": "second", "c": "third"}
    ended = list(do_all(items, lambda: timed(work), tmp_path, "model", Needs(), "auto"))
    assert ended == [("a", "damaged"), ("b", None), ("c", "no\nscan")]
    assert capsys.readouterr().err == "a  FAILED: damaged\nc  FAILED: no\\nscan\n"
