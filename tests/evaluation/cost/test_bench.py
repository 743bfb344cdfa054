from pathlib import Path

import pytest

from evaluation.cost.bench import (
    LAPTOP,
    MONAI,
    NNUNET,
    PEERS,
    bench_page,
    compare,
    comparison_table,
    medians,
    peer_systems,
    runs_csv,
)
from evaluation.cost.cold_start import CaseRun
from evaluation.errors import ArgumentsError, EvaluationError
from tests.evaluation.cost.fakes import fake_scan, fake_system, run_of, sample, tree_of

# what is compared has to be watched, and so to be there for a while on a busy machine
WATCHED = "time.sleep(1.5); label()"


def run(system: str, wall_s: float, cpu_s: float = 1.0, peak_mib: float = 100.0, case: str = "a") -> CaseRun:
    samples = [sample(0.0), sample(0.1, busy_s=0.1), sample(2.0, busy_s=3.0)]
    return run_of(samples, wall_s=wall_s, case=case, system=system, tree=tree_of(cpu_s, peak_mib))


def test_medians_are_taken_for_each_scan_and_system() -> None:
    runs = [run("ours", 1), run("ours", 9), run("ours", 2), run("peer", 30), run("ours", 5, case="b")]
    lines = medians(runs)
    assert [(line.case, line.system, line.runs, line.wall_s) for line in lines] == [
        ("a", "ours", 3, 2),
        ("a", "peer", 1, 30),
        ("b", "ours", 1, 5),
    ]
    assert lines[0].wall_range_s == (1, 9)
    # 2 s with 3 CPU-seconds, one of them its own
    assert lines[0].other_cpus == pytest.approx(1.0)


def test_the_peers_figures_stand_beside_how_many_times_ours_they_are() -> None:
    table = comparison_table(medians([run("ours", 2, 4, 500), run("peer", 72, 85, 4900)]), "ours")
    assert "| a | ours | 2.00 (2.00 to 2.00) | 4.00 | 500 |" in table
    assert "| a | peer | 72.00 (36.0x) (72.00 to 72.00) | 85.00 (21.2x) | 4,900 (9.8x) |" in table


def test_every_single_run_is_kept() -> None:
    lines = runs_csv([run("ours", 2), run("peer, large", 3.14159)]).splitlines()
    assert lines[0] == "case,system,wall_s,cpu_s,peak_mib,other_cpus"
    assert lines[2] == 'a,"peer, large",3.142,1.000,100.000,1.000'


def test_the_page_names_the_machine() -> None:
    assert "Machine: two slow CPUs." in bench_page([run("ours", 2)], "ours", "two slow CPUs")


def test_the_systems_take_turns_and_who_goes_first_changes(tmp_path: Path) -> None:
    scans = [fake_scan(tmp_path / "scans", f"{name}_0000.nii.gz") for name in ("a", "b")]
    systems = [fake_system(WATCHED, name=name) for name in ("ours", "peer")]
    runs = compare(systems, scans, 2, tmp_path / "out")
    assert [(run.case, run.system) for run in runs] == [
        *[("a", "ours"), ("a", "peer"), ("b", "ours"), ("b", "peer")],
        *[("a", "peer"), ("a", "ours"), ("b", "peer"), ("b", "ours")],
    ]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["ours", "peer"]


def test_a_system_that_fails_is_not_compared(tmp_path: Path) -> None:
    systems = [fake_system(WATCHED, name="ours"), fake_system("sys.exit('broken')", name="peer")]
    with pytest.raises(EvaluationError, match="peer on case: exit status 1: broken"):
        compare(systems, [fake_scan(tmp_path)], 1, tmp_path / "out")


def test_peers_without_their_environment_are_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ArgumentsError, match=r"install\.sh VENV"):
        peer_systems(tmp_path / "bin" / "python", tmp_path / "models", tmp_path / "manifest.json")


def test_peers_are_run_by_their_own_interpreter_on_models_made_beforehand(tmp_path: Path) -> None:
    """With a fake interpreter that notes what it is asked for."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/asked\n')
    python.chmod(0o755)
    (tmp_path / "manifest.json").touch()
    systems = peer_systems(python, tmp_path / "models", tmp_path / "manifest.json")
    assert [system.name for system in systems] == [NNUNET, LAPTOP, MONAI]
    # a model of its own for each, also where two share a script
    models = [system.words[3] for system in systems]
    assert len(set(models)) == 3
    assert all(Path(model).parent == tmp_path / "models" for model in models)
    assert (tmp_path / "asked").read_text().splitlines() == [
        f"{PEERS / 'nnunet.py'} prepare {models[0]} --recipe flare22-winner",
        f"{PEERS / 'nnunet.py'} prepare {models[1]} --recipe flare24-laptop",
        f"{PEERS / 'monai_inferer.py'} prepare {models[2]} --manifest {tmp_path / 'manifest.json'}",
    ]
    assert systems[1].command(Path("/in"), Path("/out")) == [
        *(str(python), str(PEERS / "nnunet.py"), "predict", models[1], "/in", "/out"),
    ]


def test_a_peer_whose_model_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho no module named torch >&2\nexit 1\n")
    python.chmod(0o755)
    with pytest.raises(EvaluationError, match="no module named torch"):
        peer_systems(python, tmp_path / "models", tmp_path / "manifest.json")
