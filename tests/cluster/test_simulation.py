"""The simulation: answers that can be worked out by hand, and the same ones for the same seed."""

import sqlite3
from pathlib import Path

import pytest

from cluster.__main__ import main
from cluster.dispatch import Rules
from cluster.ledger import Ending, Ledger
from cluster.plan import PerCase, Prices, plan
from cluster.simulation import Faults, simulate


def test_without_faults_the_work_is_shared_out_evenly() -> None:
    # 10 workers begin after 10 s and do 100 cases of 2 s each: 20 s of work for each of them
    made = simulate([2.0], 1000, Rules(10, slow_factor=0), Faults(start_s=10.0), seed=1)
    assert made.done == 1000
    assert made.work_s == 2000.0
    assert made.ideal_s == 200.0
    assert 210.0 <= made.seconds <= 212.0
    assert (made.lost_s, made.twice_s, made.copies) == (0.0, 0.0, 0)


def test_a_dying_fleet_does_every_case_and_loses_about_half_a_case_a_death() -> None:
    # 50 workers that live 100 s on average: about 8000 s of work are 80 deaths
    made = simulate([4.0], 2000, Rules(50, each=1, slow_factor=0), Faults(life_s=100.0, start_s=1.0), seed=2)
    assert made.done + made.given_up == 2000
    assert made.given_up == 0
    assert 40 <= made.lost_workers <= 160
    assert 1.0 <= made.lost_s / made.lost_workers <= 3.0


def test_copies_of_slow_cases_end_a_run_sooner() -> None:
    slow = Faults(start_s=1.0, slow_share=0.05, slow_by=50.0)
    rules = Rules(100, slow_least_s=5.0)
    with_copies = simulate([2.0], 2000, rules, slow, seed=3)
    without = simulate([2.0], 2000, Rules(100, slow_factor=0), slow, seed=3)
    # the last case of a slow worker takes 100 s alone
    assert without.seconds >= 100
    assert with_copies.seconds < without.seconds / 1.5
    assert with_copies.copies > 0
    assert with_copies.twice_s > 0


def test_the_same_seed_gives_the_same_run() -> None:
    faults = Faults(life_s=50.0, slow_share=0.1, slow_by=4.0, stall_share=0.01, stall_s=60.0)
    runs = [simulate([1.0, 2.0, 5.0], 500, Rules(20), faults, seed) for seed in (7, 7, 8)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_what_an_archive_costs_can_be_worked_out_by_hand() -> None:
    prices = Prices(core_hour=0.05, gb_read=0.01, gb_month=0.02, per_1000_requests=0.005)
    # 1 M cases of 3.6 core-seconds are 1000 core-hours; 20 MB each are 20 TB
    made = plan(1_000_000, 100, PerCase(3.6, 20e6, 0.5e6), prices)
    assert (made.core_hours, made.hours, made.cases_per_core_hour) == (1000.0, 10.0, 1000.0)
    assert (made.read_gb, made.written_gb, made.requests) == (20_000.0, 500.0, 2e6)
    assert made.read_mb_s == pytest.approx(20e6 / 36_000)
    assert made.cost_of_cores == 50.0
    assert made.cost_of_store == 200.0 + 10.0 + 10.0
    assert made.cost == made.cost_of_cores + made.cost_of_store
    assert plan(1_000_000, 100, PerCase(3.6, 20e6, 0.5e6), prices, overhead=0.1).hours == pytest.approx(11.0)


def test_the_command_prints_both_runs_and_the_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "ledger.sqlite"
    now = [100.0]
    with Ledger(path, "model", lambda: now[0]) as ledger:
        ledger.prepare(["a", "b", "c"], {})
        # two in flight: each takes 4 s, and every 2 s one ends
        for name in ledger.claim(3):
            now[0] += 2.0
            ledger.end(name, Ending("w", 4.0, 10_000_000, 100_000))
    words = ["simulate", "--cases", "200", "--workers", "10", "--ledger", str(path), "--life-hours", "0"]
    words += ["--slow-share", "0", "--stall-share", "0", "--start-s", "0", "--price-core-hour", "0.36"]
    assert main(words) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "200 cases on 10 workers, 2.00 s each (mean), seed 1"
    assert out[1].startswith("with copies of slow cases: 4")
    assert out[2].startswith("without: 4")
    # 1 M cases of 2 s: 556 core-hours, on 10 cores 55.6 hours
    assert out[3].startswith("1000000 cases on 10 cores: 556 core-hours, 55.6 hours, 1800 cases per core-hour; 10.0 TB")
    assert out[3].endswith("cost 200.00: cores 200.00, store 0.00")
    with sqlite3.connect(path) as rows:
        rows.execute("DELETE FROM cases")
    assert main(words) == 2
    assert "no worker that has done two cases" in capsys.readouterr().err
