from dataclasses import replace
from pathlib import Path

import pytest
from attention_dmfnet.files.image_io import write_volume
from attention_dmfnet.marks import STARTED, TRACE_VARIABLE, Step

from evaluation.cost.latency import Latency, measure_folder, measure_latency, warm_steps
from evaluation.cost.latency_report import latency_page, waterfall
from evaluation.cost.system import System, engine_system
from evaluation.cost.trace import Trace
from evaluation.errors import EvaluationError
from tests.engine.tiny import block_phantom, write_models
from tests.evaluation.cost.fakes import fake_scan, fake_system, run_of, sample, tree_of

# a fake engine: one import, then a read and a write for each scan, each of a length that is known
ENGINE = f"""
clock = time.perf_counter()
def mark(name, seconds):
    global clock
    marks.append(dict(name=name, start_s=clock, stop_s=clock + seconds, thread="MainThread"))
    clock += seconds
marks = []
mark("{STARTED}", 0.0)
mark("import", 1.0)
for number, scan in enumerate(sorted(inputs.iterdir())):
    mark("read", 10.0 if number == 0 else 2.0 + number)
    mark("write", 0.5)
Path(os.environ["{TRACE_VARIABLE}"]).write_text("\\n".join(map(json.dumps, marks)))
label()
"""


def trace_of(*steps: tuple[str, float, float], wall_s: float = 10.0) -> Trace:
    return Trace("a case", 0.0, wall_s, tuple(Step(*step, "MainThread") for step in steps))


def cold(*traces: Trace) -> Latency:
    """Cold runs with these traces; the warm process wrote a label map every second."""
    samples = [sample(-0.1), sample(0.0), sample(1.0)]
    runs = tuple(run_of(samples, wall_s=trace.wall_s, trace=trace, tree=tree_of()) for trace in traces)
    warm = trace_of(*(("write", float(i), i + 0.5) for i in range(3)))
    return Latency("case", runs, warm, 2)


def test_a_step_of_a_cold_start_is_the_median_over_the_runs() -> None:
    latency = cold(
        trace_of(("read", 0, 1)), trace_of(("read", 0, 5), ("write", 5, 6)), trace_of(("read", 0, 2), ("write", 2, 3))
    )
    assert latency.cold_seconds() == {"read": 2, "write": 1}


def test_the_wall_time_is_the_median_and_its_run_is_the_typical_one() -> None:
    latency = cold(*(trace_of(("read", 0, 1), wall_s=wall_s) for wall_s in (3.0, 9.0, 4.0)))
    assert latency.cold_wall_s() == 4
    assert latency.typical_cold_trace().wall_s == 4


def test_overhead_is_the_time_in_which_no_network_computes_and_no_scan_is_read() -> None:
    steps = (("import", 0, 2), ("read", 1, 4), ("fine", 4, 9), ("fine/network", 5, 8), ("load fine/read", 9, 10))
    # reading 1 to 4, network 5 to 8, of 10 s; reading a model is none of the two
    assert cold(trace_of(*steps)).overhead_share() == pytest.approx(0.4)


def test_the_nth_step_of_a_name_belongs_to_the_nth_case_and_the_first_case_does_not_count() -> None:
    trace = trace_of(
        ("import", 0, 1),
        ("fine", 1, 4),
        ("fine/network", 1, 3),
        ("fine", 5, 6),
        ("fine/network", 5, 5.25),
        ("fine/network", 5.5, 5.75),
        ("fine", 7, 9),
    )
    assert warm_steps(trace, 2) == [{"fine": 1, "fine/network": 0.5}, {"fine": 2}]


def test_a_warm_case_costs_the_time_between_two_label_maps() -> None:
    assert cold(trace_of(("read", 0, 1))).warm_wall_s() == 1


def test_cold_starts_get_the_scan_alone_and_the_warm_process_several_copies(tmp_path: Path) -> None:
    told: list[str] = []
    scans = [fake_scan(tmp_path / "scans", f"{name}_0000.nii.gz") for name in ("a", "b")]
    first, second = measure_latency(fake_system(ENGINE), scans, 2, tmp_path / "out", told.append)
    assert (first.case, second.case) == ("a", "b")
    assert [run.case for run in first.cold] == ["a", "a"]
    assert first.cold_seconds()["read"] == pytest.approx(10)
    # the second and the third copy: 3 s and 4 s
    assert first.warm_seconds() == {"read": pytest.approx(3.5), "write": pytest.approx(0.5)}
    assert first.warm_wall_s() == pytest.approx(4.0)
    assert [line.partition(":")[0] for line in told] == ["a", "b", "a", "b", "a", "b"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["logs", "predictions"]


def test_a_folder_of_different_scans_is_one_process_and_its_first_case_does_not_count(tmp_path: Path) -> None:
    scans = [fake_scan(tmp_path / "scans", f"{name}_0000.nii.gz") for name in "abc"]
    # the fake reads for 2 s and one more for each scan before it, and writes for 0.5 s
    assert measure_folder(fake_system(ENGINE), scans, tmp_path / "to") == pytest.approx({"b": 3.5, "c": 4.5})
    latency = replace(cold(trace_of(("read", 0, 1))), case="b")
    page = latency_page([latency, replace(latency, case="a")], "a machine", {"b": 3.5, "c": 4.5})
    # beside cold and warm; the first of a folder has none
    assert [line for line in page.splitlines() if "wall" in line and line[0] == "|"] == [
        "| **wall** | 10.000 | 1.000 | 3.500 |",
        "| **wall** | 10.000 | 1.000 |  |",
    ]
    assert "4.00 s for each further one (median of 2, 3.50 to 4.50)" in page


def test_a_system_that_fails_or_tells_nothing_cannot_be_looked_into(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="case failed: exit status 1: broken"):
        measure_latency(fake_system("sys.exit('broken')"), [fake_scan(tmp_path)], 1, tmp_path / "out")
    with pytest.raises(EvaluationError, match="fake wrote no step marks"):
        measure_latency(fake_system(), [fake_scan(tmp_path)], 1, tmp_path / "out")


def test_the_page_has_a_line_for_each_step_parts_below_their_whole() -> None:
    latency = cold(trace_of(("fine", 0, 3), ("write", 3, 4), ("fine/network", 1, 2)))
    lines = [line for line in latency_page([latency], "a machine").splitlines() if line.startswith("|")]
    assert lines[2:] == [
        "| **wall** | 10.000 | 1.000 |  |",
        "| fine | 3.000 |  |  |",
        "| &nbsp;&nbsp;fine/network | 1.000 |  |  |",
        "| write | 1.000 | 0.500 |  |",
    ]


def test_the_waterfall_is_a_picture_of_every_trace() -> None:
    one = trace_of(("read", 0, 1), ("fine", 1, 2), ("fine/network", 1.2, 1.4))
    assert waterfall([one, one]).startswith(b"\x89PNG")
    assert len(waterfall([one, one])) > len(waterfall([one]))


def test_the_engines_own_steps_are_seen_from_outside(tmp_path: Path) -> None:
    models = write_models(tmp_path / "models")
    scan = tmp_path / "Case_00001_0000.nii.gz"
    write_volume(block_phantom()[0], scan)
    ours = engine_system()
    system = System(ours.name, (*ours.words, "--models", str(models), "--device", "cpu"))
    (latency,) = measure_latency(system, [scan], 1, tmp_path / "out")
    steps = latency.cold_seconds()
    method = ["wait", "coarse", "crop", "fine", "restore", "components", "write"]
    assert [name for name in steps if name in method] == method
    assert {"start", "import", "read", "load coarse/compile", "load fine/compile", "fine/network", "exit"} <= set(steps)
    assert set(latency.warm_seconds()) == {*method, "read", "coarse/network", "fine/network"}
    trace = latency.typical_cold_trace()
    assert all(trace.start_s <= step.start_s <= step.stop_s <= trace.stop_s for step in trace.steps)
    assert sorted(path.name for path in (tmp_path / "out/predictions").iterdir()) == ["Case_00001.nii.gz"]
