"""Every command that README, docs/ and the Makefile name is run by a test, and every line of them is understood.

``RUN_BY`` is the table from command to test. It is complete both ways: a command without a row fails, and so does a row
whose command no page names or whose test does not exist.
"""

import argparse
import ast
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from attention_dmfnet.cli.parser import parse
from attention_dmfnet.files.image_io import read_volume, write_volume

import cluster.__main__
import evaluation.__main__
import export.__main__
import training.__main__
from evaluation.phantom import phantom_geometry, write_phantom
from tests.engine.tiny import block_phantom, write_models
from tests.training.bodies import body
from training.learning.checkpoint import load_trained
from training.painting.bodies import save_body

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "evaluation" / "peers" / "README.md"]
PAGES.append(ROOT / "models" / "MODEL_CARD.md")

RUN_BY = {
    "make help": "test_make.py::test_help_lists_every_target",
    "make setup": "test_make.py::test_setup_installs_with_the_exact_versions",
    "make demo": "test_make.py::test_demo_labels_an_own_scan_and_draws_it",
    "make check": "test_make.py::test_check_asks_every_tool_and_test_the_tests_too",
    "make test": "test_make.py::test_check_asks_every_tool_and_test_the_tests_too",
    "make format": "test_make.py::test_format_lays_out_the_code",
    "make container-test": "test_make.py::test_container_test_runs_the_script",
    "make export": "test_make.py::test_export_makes_models_of_two_runs_and_compares_them_with_torch",
    "make bench": "test_make.py::test_bench_compares_ours_with_the_peers",
    "make fuzz": "test_make.py::test_fuzz_reads_mutants",
    "make kills": "test_make.py::test_what_looks_for_faults_is_called_as_it_should_be",
    "make cluster-soak": "test_ray.py::test_the_soak_on_few_cases_with_its_coordinator_killed",
    "python -m tests.cluster.soak": "test_make.py::test_what_looks_for_faults_is_called_as_it_should_be",
    "python -m tests.cluster.ledger_times": "test_costs.py::test_every_case_of_the_timed_ledger_is_ended",
    "python -m tests.cluster.store_requests": "test_costs.py::test_a_scan_costs_two_requests_and_a_run_five",
    "python -m cluster predict": "test_predict_command.py::test_a_repeated_run_labels_nothing_and_a_new_model_all",
    "python -m cluster simulate": "test_simulation.py::test_the_command_prints_both_runs_and_the_plan",
    "python -m cluster status": "test_ledger.py::test_status_counts_and_names_what_failed",
    "make audit": "test_make.py::test_what_looks_for_faults_is_called_as_it_should_be",
    "make sbom": "test_make.py::test_what_looks_for_faults_is_called_as_it_should_be",
    "python -m tests.fuzz": "test_make.py::test_what_looks_for_faults_is_called_as_it_should_be",
    "make clean": "test_make.py::test_clean_removes_what_the_commands_made",
    "bash tests/container/run.sh": "test_make.py::test_container_test_runs_the_script",
    "sh evaluation/peers/install.sh": "test_make.py::test_bench_makes_the_peers_environment_with_the_projects_python",
    "sh predict.sh": "test_commands.py::test_predict_sh_labels_a_folder",
    "attention-dmfnet completion": "test_completion.py::test_the_command_prints_it",
    "attention-dmfnet describe": "test_describe.py::test_for_people_every_label_and_hash_is_there",
    "attention-dmfnet doctor": "test_doctor.py::test_for_people_the_last_line_is_the_answer",
    "attention-dmfnet predict": "test_commands.py::test_the_installed_command_labels_a_folder",
    "attention-dmfnet report": (
        "test_report_command.py::test_a_report_afterwards_has_the_same_numbers_but_for_the_probability"
    ),
    "python -m pip": "test_make.py::test_setup_installs_with_the_exact_versions",
    "python -m pytest": "test_make.py::test_check_asks_every_tool_and_test_the_tests_too",
    "python -m venv": "test_make.py::test_setup_installs_with_the_exact_versions",
    "python -m attention_dmfnet predict": "test_commands.py::test_the_module_labels_a_folder",
    "python -m attention_dmfnet.model.openvino_graphs": (
        "test_openvino_graphs.py::test_the_kept_form_scores_as_the_onnx_model_does_in_every_shape"
    ),
    "python -m evaluation bench": "test_make.py::test_bench_compares_ours_with_the_peers",
    "python -m evaluation demo": "test_make.py::test_demo_labels_an_own_scan_and_draws_it",
    "python -m evaluation efficiency": (
        "test_measure_main.py::test_efficiency_writes_both_tables_the_plots_and_a_summary"
    ),
    "python -m evaluation latency": "test_measure_main.py::test_latency_writes_the_table_a_trace_and_a_picture",
    "python -m evaluation phantom": "test_commands.py::test_a_phantom_is_written",
    "python -m evaluation picture": "test_main.py::test_a_picture_is_drawn",
    "python -m evaluation roi": "test_roi_coverage.py::test_the_command_prints_the_table",
    "python -m evaluation score": "test_main.py::test_scoring_prints_the_summary_and_writes_table_and_plot",
    "python -m compileall": "test_commands.py::test_the_engines_code_is_compiled_before_it_is_timed",
    "python -m evaluation.studies.cpu_by_step": (
        "test_cpu_by_step.py::test_a_scan_that_cannot_be_labelled_ends_the_study_with_a_sentence"
    ),
    "python -m evaluation.studies.grid_limit": "test_grid_limit.py::test_the_command_prints_a_column_for_each_spacing",
    "python -m evaluation.studies.long_scan": (
        "test_long_scan.py::test_the_old_slices_keep_their_place_and_the_end_slices_go_on"
    ),
    "python -m evaluation.studies.false_organs": "test_false_organs.py::test_the_command_shows_each_release",
    "python -m evaluation.studies.held_out": "test_held_out.py::test_the_command_prints_each_release",
    "python -m evaluation.studies.many_machines": "test_many_machines.py::test_the_command_runs_each_way_once",
    "python -m evaluation.studies.phases": "test_phases.py::test_the_command_names_each_patient",
    "python -m evaluation.studies.releases": (
        "test_releases.py::test_the_command_prints_a_row_for_each_release_run_by_its_own_code"
    ),
    "python -m evaluation.studies.report_time": "test_report_time.py::test_the_command_prints_the_row",
    "python -m evaluation.studies.roi_margins": "test_roi_margins.py::test_the_script_prints_a_row_for_each_margin",
    "python -m evaluation.studies.settings_sweep": (
        "test_settings_sweep.py::test_the_script_labels_with_each_variant_and_writes_table_and_picture"
    ),
    "python -m export onnx": "test_make.py::test_export_makes_models_of_two_runs_and_compares_them_with_torch",
    "python -m export parity": "test_make.py::test_export_makes_models_of_two_runs_and_compares_them_with_torch",
    "python -m export tensorrt": "test_tensorrt_plan.py::test_the_command_publishes_plans_beside_the_models",
    "python -m training ablation": "test_main.py::test_an_ablation_is_run_from_the_command_line",
    "python -m training audit": "test_audit.py::test_the_command_names_what_fails_and_counts_by_source",
    "python -m training average": "test_average.py::test_each_weight_is_the_mean",
    "python -m training card": "test_main.py::test_a_stage_is_trained_from_bodies_resumed_and_described",
    "python -m training curve": "test_curve.py::test_the_published_story_can_be_drawn",
    "python -m training fit": "test_main.py::test_a_stage_is_trained_from_bodies_resumed_and_described",
    "python -m training loader": "test_main.py::test_the_loader_is_timed_and_does_not_grow_with_the_cases",
    "python -m training prepare": (
        "test_chain.py::test_the_teachers_label_unlabelled_scans_and_the_student_learns_from_them"
    ),
    "python -m training pseudo-label": (
        "test_chain.py::test_the_teachers_label_unlabelled_scans_and_the_student_learns_from_them"
    ),
    "python -m training run": "test_paper.py::test_two_cannot_work_in_one_folder_and_status_needs_nothing_else",
    "python -m training recombine": (
        "test_body_library.py::test_a_library_holds_transplants_and_morphs_of_training_patients_only"
    ),
    "python -m training.reports.full_scale": "test_full_scale.py::test_the_command_prints_what_2050_scans_cost",
    "python -m training step-time": "test_main.py::test_the_parts_of_a_step_are_timed",
    "python -m training synthesize": "test_main.py::test_bodies_are_completed_drawn_and_painted",
    "torchrun -m training fit": "test_commands.py::test_two_processes_train_a_stage",
}

NEEDS_A_CONTAINER_ENGINE = {"docker build", "docker run", "docker image", "docker stop"}
"""Not run here: tests/container/run.sh builds the image and runs the organisers' command in it."""

_COMMAND = re.compile(
    r"""\b(?:
        (?P<make>make\ (?!CT\b|PYTHON\b)[a-z-]+)
      | (?P<torchrun>torchrun)\b[^\n]*?\ (?P<launched>-m\ training\ [a-z-]+)
      | python[0-9.]*\ (?P<module>
            -m\ (?:training|export|evaluation|cluster|attention_dmfnet)\ (?!COMMAND)[a-z-]+|-m\ [\w.]+
        )
      | (?P<script>(?:sh|bash)\ [\w/.-]+\.sh)
      | (?P<installed>attention-dmfnet\ [a-z]+)
      | (?P<container>docker\ [a-z]+)
    )""",
    re.VERBOSE,
)


def code_in(text: str) -> str:
    """The code of a page of Markdown, blocks and spans, one piece a line; continued lines are joined."""
    blocks = re.findall(r"^ *```\w*\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    spans = re.findall(r"`([^`]+)`", re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE))
    return "\n".join([*blocks, *(" ".join(span.split()) for span in spans)]).replace("\\\n", " ")


def recipes_of_the_makefile() -> str:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = "\n".join(f"make {target}" for target in re.findall(r"^([a-z-]+):", text, re.MULTILINE))
    recipes = "\n".join(re.findall(r"^\t(.*)", text, re.MULTILINE)).replace("$(INSTALL)", "python -m pip")
    return targets + "\n" + recipes.replace("$(BIN)/python", "python").replace("$(PYTHON)", "python")


def commands_in(code: str) -> set[str]:
    found = set()
    for line in code.splitlines():
        for match in _COMMAND.finditer(line.partition("  #")[0]):
            if match["module"]:
                found.add(f"python {match['module']}")
            elif match["torchrun"]:
                found.add(f"torchrun {match['launched']}")
            else:
                found.add(match[0])
    return found


def named_commands() -> set[str]:
    pages = (code_in(page.read_text(encoding="utf-8")) for page in PAGES)
    return set().union(*map(commands_in, pages), commands_in(recipes_of_the_makefile()))


def test_every_command_that_is_named_is_run_and_every_row_is_of_a_named_one() -> None:
    assert named_commands() - NEEDS_A_CONTAINER_ENGINE == set(RUN_BY)
    assert named_commands() >= NEEDS_A_CONTAINER_ENGINE


def test_the_engines_code_is_compiled_before_it_is_timed(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "compileall", "-q", str(ROOT / "engine")]
    subprocess.run(words, check=True, env=os.environ | {"PYTHONPYCACHEPREFIX": str(tmp_path)})
    assert list(tmp_path.rglob("segmenter.*.pyc"))


def test_commands_are_found_in_blocks_and_spans() -> None:
    text = (
        "`make it` and\n```sh\ntorchrun --n 2 -m training fit \\\n  --x  # make noise\npython3 -m export onnx A\n```\n"
    )
    text += "We make demo here. `sh a/b.sh`, `python -m evaluation COMMAND`, `python\n-m json.tool`"
    assert commands_in(code_in(text)) == {
        *("make it", "torchrun -m training fit", "python -m export onnx", "sh a/b.sh"),
        *("python -m evaluation", "python -m json.tool"),
    }


@pytest.mark.parametrize("command", sorted(RUN_BY))
def test_the_test_of_a_command_exists_and_names_it(command: str) -> None:
    """A weak proof that the test runs it: its file holds the word that the command is called by."""
    file, name = RUN_BY[command].split("::")
    paths = [path for path in (ROOT / "tests").rglob(file) if f"def {name}(" in path.read_text(encoding="utf-8")]
    assert len(paths) == 1, paths
    tree = ast.parse(paths[0].read_text(encoding="utf-8"))
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    word = command.split()[-1]
    asked_for = any(re.search(rf"\b{re.escape(word)}\b", text) for text in texts)
    through_make = file == "test_make.py" and word in recipes_of_the_makefile()
    study = command.startswith(("python -m evaluation.studies.", "python -m training.reports.")) and "main" in names
    assert asked_for or through_make or study


PARSERS: dict[str, Callable[[str], argparse.ArgumentParser]] = {
    "training": training.__main__._parser,
    "export": lambda command: export.__main__._parser(),
    "evaluation": lambda command: evaluation.__main__._parser(),
    "cluster": cluster.__main__._parser,
}


def command_lines() -> list[str]:
    """What pages tell people to type to the tools of the repository; no synopsis with brackets or dots."""
    code = "\n".join(code_in(page.read_text(encoding="utf-8")) for page in PAGES).splitlines()
    lines = {line.strip() for line in code if re.search(r"-m (training|export|evaluation|cluster) \S+ \S", line)}
    return sorted(line for line in lines if "..." not in line and "[--" not in line)


@pytest.mark.parametrize("line", command_lines())
def test_a_command_line_of_a_page_is_understood(line: str) -> None:
    words = shlex.split(line.replace("$raw", "raw").replace("$seed", "1"), comments=True)
    package, *arguments = words[words.index("-m") + 1 :]
    PARSERS[package](arguments[0]).parse_args(arguments)


def installed_command_lines() -> list[str]:
    """What pages tell people to type to the installed command, up to a synopsis' brackets; help is asked elsewhere."""
    code = "\n".join(code_in(page.read_text(encoding="utf-8")) for page in PAGES)
    lines = {line.strip() for line in re.findall(r"attention-dmfnet [a-z]+ [^\[)\n]*", code)}
    return sorted(line for line in lines if line.count(" ") > 1 and "--help" not in line and "..." not in line)


@pytest.mark.parametrize("line", installed_command_lines())
def test_a_line_of_the_installed_command_is_understood(line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    assert parse(words).command == words[0]


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    write_volume(block_phantom()[0], tmp_path / "in" / "a_0000.nii.gz")
    return tmp_path / "in"


def _labels_of(scans: Path, *command: str) -> None:
    """Run a command on the phantom of blocks with networks that read its intensities: every label must be right."""
    folder = scans.parent
    write_models(folder / "models")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'engine'}"}
    words = [*command, str(scans), str(folder / "out"), "--models", str(folder / "models"), "--device", "cpu"]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(read_volume(folder / "out" / "a.nii.gz").array, block_phantom()[1].array)


def test_predict_sh_labels_a_folder(scans: Path) -> None:
    _labels_of(scans, "sh", str(ROOT / "predict.sh"))


def test_the_module_labels_a_folder(scans: Path) -> None:
    _labels_of(scans, sys.executable, "-m", "attention_dmfnet", "predict")


def test_the_installed_command_labels_a_folder(scans: Path) -> None:
    command = Path(sys.executable).parent / "attention-dmfnet"
    if not command.exists():
        pytest.skip("this environment was installed before there was the command attention-dmfnet; run make setup")
    _labels_of(scans, str(command), "predict")


def test_a_phantom_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = phantom_geometry((30, 60, 70), (10, 6, 6))
    monkeypatch.setattr("evaluation.phantom.write_phantom", lambda to, seed: write_phantom(to, seed, small))
    assert evaluation.__main__.main(["phantom", "--to", str(tmp_path), "--seed", "3"]) == 0
    image = read_volume(tmp_path / "images" / "Phantom_0001_0000.nii.gz")
    labels = read_volume(tmp_path / "labels" / "Phantom_0001.nii.gz")
    assert labels.geometry == image.geometry
    assert set(np.unique(labels.array).tolist()) == set(range(14))


TINY = ["network.stem=8", "network.width=16", "network.groups=4", "grid.tile_zyx=[32, 32, 32]", "run.minutes=0"]
TINY += ["run.epochs=1", "run.steps_per_epoch=1", "run.validation_cases=1", "run.batch=2", "sampling.workers=0"]
TINY += ["schedule.freeze_samples=2"]


def tiny() -> list[str]:
    return [word for change in TINY for word in ("--set", change)]


@pytest.fixture
def bodies(tmp_path: Path) -> Path:
    folder = tmp_path / "bodies"
    folder.mkdir()
    for name in ("word_0014_0", "word_0034_0"):
        save_body(body(), folder / f"{name}.npz")
    return folder


def test_two_processes_train_a_stage(bodies: Path, tmp_path: Path) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = ["-m", "training", "fit", "--recipe", "painted-fine", "--bodies", str(bodies), "--to"]
    options = [str(tmp_path / "run"), "--accelerator", "cpu", "--threads", "1", *tiny()]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'engine'}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launcher, *command, *options], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert load_trained(tmp_path / "run").recipe.stage == "fine"


def test_a_stage_is_trained_from_a_library(bodies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    library = tmp_path / "library"
    assert training.__main__.main(["recombine", str(bodies), "--to", str(library), "--count", "0"]) == 0
    # the other one is held out
    body = {"word_0014_0.known.npy", "word_0014_0.tissues.npy"}
    assert {path.name for path in library.iterdir()} == {"made_of.json", *body}
    fit = ["fit", "--recipe", "painted-fine", "--bodies", str(library), "--to", str(tmp_path / "run")]
    fit += ["--accelerator", "cpu", "--threads", "1", *tiny()]
    assert training.__main__.main(fit) == 1
    assert "holds nobody who is held out" in capsys.readouterr().err
    assert training.__main__.main([*fit, "--set", "run.validation_cases=0"]) == 0
    assert load_trained(tmp_path / "run").recipe.stage == "fine"
