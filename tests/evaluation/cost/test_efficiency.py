import csv
import io
from pathlib import Path

import pytest

from evaluation.cost.efficiency import (
    area,
    cpu_percent,
    max_in_more_than_2_percent,
    measure,
    measured_cost,
    official_cost,
    official_costs,
    official_cpu_percent,
)
from evaluation.cost.efficiency_report import Setting, measured_csv, official_csv, write_reports
from tests.evaluation.cost.fakes import fake_scan, fake_system, run_of, sample, tree_of

SETTING = Setting("A title", "a command", "a machine", "no GPU")


def test_each_sample_counts_a_tenth_of_a_second_however_far_apart_they_lie() -> None:
    # before, three samples half a second apart, and one after the end, which the organisers do not have
    samples = [sample(0.1 + 0.5 * i, ram_mib=mib) for i, mib in enumerate((999.0, 1000.0, 3000.0, 2000.0, 9000.0))]
    cost = official_cost(run_of(samples, wall_s=1.23))
    assert cost.ram_area_mb_s == pytest.approx((1000 + 3000 + 2000) * 0.1)
    assert cost.ram_mb == 3000
    assert cost.time_s == pytest.approx(1.23)


def test_the_measured_area_lies_under_the_samples_at_their_real_times() -> None:
    # trapezoids: 0.5 s from 1000 to 3000, 0.25 s from 3000 to 1000
    samples = [
        sample(time_s, ram_mib=mib) for time_s, mib in ((0.9, 5.0), (1.0, 1000.0), (1.5, 3000.0), (1.75, 1000.0))
    ]
    cost = measured_cost(run_of(samples))
    assert cost.ram_area_mib_s == pytest.approx(0.5 * 2000 + 0.25 * 2000)
    assert (cost.ram_before_mib, cost.ram_max_mib) == (5, 3000)
    assert cost.samples == 3
    assert cost.sample_every_s == pytest.approx(0.375)


def test_an_area_of_one_sample_is_zero() -> None:
    assert area([sample(1.0)], lambda one: one.ram_mib) == 0


def test_an_idle_machine_of_two_cpus_seems_a_third_busy_to_the_organisers() -> None:
    before, after = sample(0.0), sample(0.1, idle_s=0.2)
    assert official_cpu_percent(before, after) == pytest.approx(100 / 3)
    assert cpu_percent(before, after) == 0


def test_the_organisers_take_the_idle_share_of_user_system_idle_and_a_tenth_of_a_second() -> None:
    before = sample(0.0, user_s=5.0, system_s=1.0, idle_s=20.0)
    after = sample(0.1, user_s=5.2, system_s=1.1, idle_s=20.6)
    assert official_cpu_percent(before, after) == pytest.approx(100 - 100 * 0.6 / (0.2 + 0.1 + 0.6 + 0.1))


def test_what_runs_at_low_priority_is_busy_only_in_the_measured_figure() -> None:
    # two CPUs for 1 s, one of them taken by a process with `nice`
    before, after = sample(0.0), sample(1.0, idle_s=1.0, busy_s=1.0)
    assert cpu_percent(before, after) == 50
    assert official_cpu_percent(before, after) == pytest.approx(100 - 100 / 1.1)


def test_cpu_shares_are_summed_over_the_samples_and_the_largest_is_named() -> None:
    # idle shares of 1.9 / 2.0 (the tenth added), 0, 0.9 / 2.0
    idle_s = [0.0, 1.9, 1.9, 2.8]
    user_s = [0.0, 0.0, 1.9, 2.9]
    samples = [sample(float(i), user_s=u, idle_s=d) for i, (u, d) in enumerate(zip(user_s, idle_s, strict=True))]
    cost = official_cost(run_of([*samples, sample(4.0)]))
    assert cost.cpu_percent == pytest.approx(100)
    assert cost.cpu_area_percent_s == pytest.approx((5 + 100 + 55) * 0.1)


def test_the_measured_cpu_area_weighs_each_share_with_its_time() -> None:
    # two CPUs: half busy for 1 s, then wholly for 2 s; what was before the case does not count
    samples = [
        sample(0.0),
        sample(0.5, busy_s=1.0),
        sample(1.5, busy_s=2.0, idle_s=1.0),
        sample(3.5, busy_s=6.0, idle_s=1.0),
    ]
    assert measured_cost(run_of(samples)).cpu_area_percent_s == pytest.approx(50 * 1 + 100 * 2)


def test_gpu_memory_that_is_seen_in_no_more_than_two_percent_of_the_samples_is_not_its_maximum() -> None:
    assert max_in_more_than_2_percent([1.0] * 48 + [900.0] * 2) == 900  # 4 %
    assert max_in_more_than_2_percent([1.0] * 49 + [900.0]) == 1  # 2 %: not more
    assert max_in_more_than_2_percent([1.0] * 90 + [500.0] * 7 + [900.0, 901.0]) == 500


def test_where_no_value_is_frequent_the_plain_maximum_is_taken() -> None:
    assert max_in_more_than_2_percent([float(value) for value in range(100)]) == 99


def test_both_maxima_of_the_gpu_are_told_and_what_was_used_before() -> None:
    levels_mib = [300.0] + [800.0] * 60 + [2500.0] + [800.0] * 2
    run = run_of([sample(0.1 * i, gpu_mib=mib) for i, mib in enumerate(levels_mib)])
    assert official_cost(run).gpu_mb == 800
    assert official_cost(run).gpu_area_mb_s == pytest.approx((61 * 800 + 2500) * 0.1)
    assert measured_cost(run).gpu_max_mib == 2500
    assert measured_cost(run).gpu_before_mib == 300


def test_other_processes_are_what_was_busy_and_not_the_cases_own() -> None:
    # 2 s on a machine that was busy for 3 CPU-seconds, 1 of them the case's
    samples = [sample(0.0), sample(0.1, busy_s=0.1), sample(2.0, busy_s=3.0, idle_s=1.0)]
    assert measured_cost(run_of(samples, tree=tree_of(cpu_s=1.0))).other_cpus == pytest.approx(1.0)
    assert measured_cost(run_of(samples)).other_cpus is None


def test_a_failed_case_counts_an_hour_and_the_largest_of_all_figures() -> None:
    levels = [[sample(0.1 * i, ram_mib=mib) for i in range(4)] for mib in (100.0, 700.0, 300.0)]
    small, large, failed = (run_of(samples, wall_s=5.0) for samples in levels)
    costs = official_costs([small, large, run_of(levels[2], failure="exit status 1")])
    assert [cost.time_s for cost in costs] == [5, 5, 3600]
    assert costs[2].ram_mb == costs[1].ram_mb == 700
    assert costs[2].ram_area_mb_s == costs[1].ram_area_mb_s
    assert costs[2].gpu_mb is None
    assert official_cost(failed).ram_mb == 300


def test_the_organisers_table_has_their_columns_names_and_rounding() -> None:
    samples = [sample(0.1 * i, gpu_mib=1234.567, ram_mib=2000.123, user_s=0.1 * i) for i in range(5)]
    run = run_of(samples, wall_s=12.3456, case="FLARETs_0001")
    header, row = csv.reader(io.StringIO(official_csv([run], official_costs([run]))))
    assert ",".join(header) == "Name,Time,GPU_Mem,AUC_GPU_Time,CPU_Utilization,AUC_CPU_Time,RAM,AUC_RAM_Time"
    # three samples of 100 % each, as nothing was idle
    assert row == ["FLARETs_0001.nii.gz", "12.35", "1235.0", "370.0", "100.0", "30.0", "2000.12", "600.0"]


def test_without_a_gpu_its_cells_say_so_and_the_measured_ones_are_empty() -> None:
    run = run_of([sample(0.1 * i) for i in range(4)], tree=tree_of(cpu_s=2.0, peak_mib=300.0))
    official = next(csv.DictReader(io.StringIO(official_csv([run], official_costs([run])))))
    assert (official["GPU_Mem"], official["AUC_GPU_Time"]) == ("no GPU", "no GPU")
    measured = next(csv.DictReader(io.StringIO(measured_csv([run], [measured_cost(run)]))))
    assert (measured["GPU_Max_MiB"], measured["AUC_GPU_MiB_s"], measured["Failure"]) == ("", "", "")
    assert (measured["Tree_CPU_s"], measured["Tree_Peak_MiB"]) == ("2.0", "300.0")


def test_processes_that_could_not_be_seen_are_not_measured_rather_than_free(tmp_path: Path) -> None:
    run = run_of([sample(0.1 * i) for i in range(4)])
    measured = next(csv.DictReader(io.StringIO(measured_csv([run], [measured_cost(run)]))))
    assert (measured["Tree_CPU_s"], measured["Other_Processes_CPUs"]) == ("", "")
    assert "not measured" in write_reports([run], SETTING, tmp_path, plots=False)


def test_a_page_two_tables_and_a_plot_for_each_case_are_written(tmp_path: Path) -> None:
    runs = [
        run_of([sample(0.1 * i, idle_s=0.2 * i) for i in range(4)], case="a"),
        run_of([sample(0.1 * i, gpu_mib=100.0) for i in range(4)], case="b", failure="exit status 3: no memory"),
    ]
    page = write_reports(runs, SETTING, tmp_path)
    assert page == (tmp_path / "summary.md").read_text()
    assert "- b: exit status 3: no memory" in page
    assert (tmp_path / "efficiency_flare22.csv").read_text().count("\n") == 3
    assert (tmp_path / "efficiency_measured.csv").read_text().count("\n") == 3
    for name in ("a", "b"):
        assert (tmp_path / "plots" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert f"(plots/{name}.png)" in page


def test_a_case_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    scans = [fake_scan(tmp_path / "scans", f"{name}_0000.nii.gz") for name in ("a", "b")]
    system = fake_system('sys.exit("it broke") if (inputs / "a_0000.nii.gz").exists() else label()')
    told: list[str] = []
    first, second = measure(system, scans, tmp_path / "out", tell=told.append)
    assert first.failure == "exit status 1: it broke"
    assert second.failure is None
    assert told[0].startswith("a: ")
    assert told[0].endswith("failed: exit status 1: it broke")
    assert told[1].startswith("b: ")
    assert "failed" not in told[1]
