"""Claims about the whole paper in one command: what is done again, what is not, and how a stop goes on."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from attention_dmfnet.cli.main import main as predict
from attention_dmfnet.files.image_io import write_labels, write_volume

from evaluation.__main__ import main as evaluate
from tests.training.pseudo.test_ready_maps import write_release
from tests.training.small_patients import make_patient, write_flare22, write_recipe_for_patients, write_teacher
from training.__main__ import main
from training.errors import TrainingError
from training.paper import carry_out as work
from training.paper.processes import Ended, run_commands
from training.paper.steps import Protocol

ROOT = Path(__file__).resolve().parents[3]


class Typist:
    """Runs `prepare` and makes up the other commands' files from what they were given; fails where it is told to."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.fails_at: dict[str, int] = {}
        self.scores_on_the_way = True

    def __call__(self, commands: Sequence[Sequence[str]], at_once: int) -> list[Ended]:
        return [Ended(self.run(words), 1.0) for words in commands]

    def run(self, words: Sequence[str]) -> int:
        package, command, *rest = words
        to = Path(rest[rest.index("--to") + 1]) if "--to" in rest else None
        name = command if to is None else to.name
        self.ran.append(name)
        if (status := self.fails_at.get(name, 0)) != 0:
            return status
        if (package, command) == ("training", "prepare"):
            return main([command, *rest])
        elif command == "fit":
            assert to is not None
            to.mkdir(exist_ok=True)
            (to / "weights.safetensors").write_text(" ".join(rest))
            (to / "recipe.toml").write_text("recipe")
            if self.scores_on_the_way:
                (to / "best").mkdir(exist_ok=True)
                (to / "best" / "weights.safetensors").write_text("best of " + " ".join(rest))
                (to / "best" / "recipe.toml").write_text("recipe")
        elif command == "onnx":
            assert to is not None
            to.mkdir(exist_ok=True)
            (to / "manifest.json").write_bytes((Path(rest[1]) / "weights.safetensors").read_bytes())
        elif command == "pseudo-label":
            assert to is not None
            (to / "labels").mkdir(parents=True, exist_ok=True)
            models = [Path(each) for each in rest if each.endswith("-models") and each != "--models"]
            teachers = [hashlib.sha256((each / "manifest.json").read_bytes()).hexdigest() for each in models]
            index = f'{{"format": 1, "teachers": {json.dumps(teachers)}, "cases": [%s]}}'
            case = '{"name": "Case_00001", "kept": true, "annotated": [1, 3], "weight": 0.9, "dropped": {}, "why": ""}'
            scan = next(Path(rest[0]).glob("*"))
            truth = scan.parents[2] / "unlabelled-truth.nii.gz"
            (to / "labels" / "Case_00001.nii.gz").write_bytes(truth.read_bytes())
            (to / "pseudo.json").write_text(index % case)
        elif command == "parity":
            Path(rest[rest.index("--table") + 1]).write_text("table")
        elif command == "card":
            assert to is not None
            to.write_text("card")
        return 0


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    write_labels(make_patient(101)[1], tmp_path / "unlabelled-truth.nii.gz")
    return write_flare22(tmp_path / "raw", labelled=2, unlabelled=1)


def protocol(tmp_path: Path, raw: Path, **changes: object) -> Protocol:
    recipe = tmp_path / "recipe.toml"
    if not recipe.exists():
        write_recipe_for_patients(recipe)
    settings: dict[str, object] = {"folds": 2, "workers": ("--workers", "1")}
    return Protocol(str(recipe), (raw,), tmp_path / "all", **(settings | changes))  # type: ignore[arg-type]


WHOLE = ["data", "coarse", "teacher-0", "teacher-1", "teacher-0-models", "teacher-1-models", "pseudo"]
WHOLE += ["student-data", "student", "models", "parity", "card.md"]


def test_the_whole_way_with_a_teacher_for_each_fold_and_nothing_twice(tmp_path: Path, raw: Path) -> None:
    typist = Typist()
    work.carry_out(protocol(tmp_path, raw), "as typed", typist)
    assert typist.ran == WHOLE
    typist.ran.clear()
    work.carry_out(protocol(tmp_path, raw), "as typed", typist)
    assert typist.ran == []
    # touched, but the same: nothing
    scan = next(raw.glob("*/images/*"))
    os.utime(scan, ns=(1, 1))
    work.carry_out(protocol(tmp_path, raw), "as typed", typist)
    assert typist.ran == []
    # where the training ran does not matter
    work.carry_out(protocol(tmp_path, raw, fit_how=("--accelerator", "cpu")), "as typed", typist)
    assert typist.ran == []
    # nor where everything lies
    (tmp_path / "all").rename(tmp_path / "elsewhere")
    work.carry_out(replace(protocol(tmp_path, raw), to=tmp_path / "elsewhere"), "as typed", typist)
    assert typist.ran == []
    commands = (tmp_path / "elsewhere" / "status.md").read_text()
    assert "12 steps done" in commands
    assert "--ensemble --models" in commands
    assert "| student | done |" in commands
    assert "as typed" in commands


def test_a_change_repeats_what_depends_on_it_alone(tmp_path: Path, raw: Path) -> None:
    typist = Typist()
    work.carry_out(protocol(tmp_path, raw), "as typed", typist)
    typist.ran.clear()
    work.carry_out(protocol(tmp_path, raw, pseudo_loss="beta"), "as typed", typist)
    assert typist.ran == ["student", "models", "parity", "card.md"]
    # the run with the other loss is kept
    kept = tmp_path / "all" / "set-aside" / "student-1" / "weights.safetensors"
    assert 'loss.pseudo={name="generalised"}' in kept.read_text()
    typist.ran.clear()
    (tmp_path / "all" / "models" / "manifest.json").unlink()
    work.carry_out(protocol(tmp_path, raw, pseudo_loss="beta"), "as typed", typist)
    assert typist.ran == ["models", "parity"]  # which writes into the models
    typist.ran.clear()
    # one more unlabelled scan: no network is trained anew but the student, if its labels are selected
    write_volume(make_patient(105)[0], raw / "FLARE22_UnlabeledCase1-1000" / "Case_00002_0000.nii.gz")
    work.carry_out(protocol(tmp_path, raw, pseudo_loss="beta"), "as typed", typist)
    assert typist.ran == ["data", "pseudo", "student-data"]


def test_the_best_weights_are_exported_where_they_are_asked_for(tmp_path: Path, raw: Path) -> None:
    typist = Typist()
    work.carry_out(protocol(tmp_path, raw), "as typed", typist)
    page, manifest = tmp_path / "all" / "status.md", tmp_path / "all" / "models" / "manifest.json"
    assert "| make the files that the engine reads, of the last weights |" in page.read_text()
    typist.ran.clear()
    work.carry_out(protocol(tmp_path, raw, weights="best"), "as typed", typist)
    # no network is trained again, as the labels happen to be the same
    again = ["teacher-0-models", "teacher-1-models", "pseudo", "student-data", "models", "parity", "card.md"]
    assert typist.ran == again
    assert "best of --stage fine" in manifest.read_text()
    assert "| make the files that the engine reads, of the best weights |" in page.read_text()
    assert "all/student/best" in page.read_text().split("card ")[1]
    typist.ran.clear()
    work.carry_out(protocol(tmp_path, raw, weights="best"), "as typed", typist)
    assert typist.ran == []
    never_scored = Typist()
    never_scored.scores_on_the_way = False
    with pytest.raises(TrainingError, match=r"coarse has no best weights: it ended before it was scored"):
        work.carry_out(replace(protocol(tmp_path, raw, weights="best"), to=tmp_path / "other"), "typed", never_scored)
    assert never_scored.ran == ["data", "coarse"]


def test_what_a_later_step_would_refuse_is_refused_before_anything_is_done(
    tmp_path: Path, raw: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, selection, pseudo = write_recipe_for_patients(tmp_path / "r.toml"), tmp_path / "s.toml", tmp_path / "p"
    selection.write_text("[min_probability]\nlever = 0.9\n")
    pseudo.mkdir()
    (pseudo / "pseudo.json").write_text('{"format": 1, "teachers": [], "cases": []}')
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("training.paper.run_command.carry_out", lambda *given: pytest.fail("a step was taken"))
    scored = ["--set", "run.validation_cases=1", "--set", "run.validate_every_epochs=1"]
    for words, sentence in (
        (["--selection", str(selection)], "'lever' is no organ"),
        (["--pseudo", str(pseudo)], "no case in"),
        (["--pseudo", str(tmp_path)], "there is no"),
        (["--set", "run.epochs=0"], "run needs one budget"),
        (["--weights", "best", "--fold", "all", *scored], "--fold all has none"),
        (["--weights", "best"], "does not take for the coarse stage"),
        (["--weights", "best", *scored], "would come after 1 epochs, of 1"),
        (["--at-once", "3"], "the number of GPUs here is 2; write --at-once 2, or --accelerator cpu"),
    ):
        assert main(["run", str(recipe), "--data", str(raw), "--to", str(tmp_path / "all"), *words]) == 1
        told = capsys.readouterr().err
        assert sentence in told
        assert told.count("\n") == 1


def test_more_at_once_than_gpus_is_refused_where_gpus_train(
    tmp_path: Path, raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[Protocol] = []
    monkeypatch.setattr("training.paper.run_command.carry_out", lambda protocol, typed: done.append(protocol))
    words = ["run", str(write_recipe_for_patients(tmp_path / "r.toml")), "--data", str(raw), "--to", str(tmp_path)]
    for gpus, accelerator, status in ((2, "auto", 0), (2, "cpu", 0), (1, "auto", 1), (0, "auto", 0), (0, "cuda", 1)):
        monkeypatch.setattr("torch.cuda.device_count", lambda gpus=gpus: gpus)
        assert main([*words, "--at-once", "2", "--accelerator", accelerator]) == status, (gpus, accelerator)
    assert [protocol.at_once for protocol in done] == [2, 2, 2]


def test_shares_of_the_scans_are_labelled_at_once_and_selected_from_together(tmp_path: Path, raw: Path) -> None:
    selection = tmp_path / "selection.toml"
    selection.write_text("min_organs = 2\n")

    class Sharing(Typist):
        together: list[list[str]] = []  # noqa: RUF012 - of this test alone

        def __call__(self, commands: Sequence[Sequence[str]], at_once: int) -> list[Ended]:
            labelling = [words for words in commands if words[1] == "pseudo-label"]
            if labelling:
                shares = [words[words.index("--shard") + 1] if "--shard" in words else "all" for words in labelling]
                self.together.append(shares)
                assert ["--selection" in words for words in labelling] == ["all" in shares] * len(labelling)
            return super().__call__(commands, at_once)

    typist = Sharing()
    work.carry_out(protocol(tmp_path, raw, at_once=2, selection=selection), "as typed", typist)
    assert typist.together == [["1/2", "2/2"], ["all"]]
    assert "| pseudo-2 | done |" in (tmp_path / "all" / "status.md").read_text()
    typist.together.clear()
    work.carry_out(protocol(tmp_path, raw, at_once=2, selection=selection), "as typed", typist)
    assert typist.together == []
    # other thresholds label nothing anew
    selection.write_text("min_organs = 1\n")
    work.carry_out(protocol(tmp_path, raw, at_once=2, selection=selection), "as typed", typist)
    assert typist.together == [["all"]]
    # other shares write a selection of their own, so all is selected from again
    typist.together.clear()
    work.carry_out(protocol(tmp_path, raw, at_once=3, selection=selection), "as typed", typist)
    assert typist.together == [["1/3", "2/3", "3/3"], ["all"]]


def test_a_stop_or_a_failure_goes_on_where_it_was(tmp_path: Path, raw: Path) -> None:
    typist = Typist()
    typist.fails_at = {"teacher-1": 143}
    with pytest.raises(TrainingError, match="teacher-1 was stopped; the same command goes on from here") as stopped:
        work.carry_out(protocol(tmp_path, raw), "as typed", typist)
    assert getattr(stopped.value, "signal_number", None) == signal.SIGTERM
    assert "| teacher-1 | begun |" in (tmp_path / "all" / "status.md").read_text()
    typist.ran.clear()
    typist.fails_at = {"pseudo": 1}
    with pytest.raises(TrainingError, match="the step pseudo failed"):
        work.carry_out(protocol(tmp_path, raw), "as typed", typist)
    assert typist.ran == ["teacher-1", "teacher-0-models", "teacher-1-models", "pseudo"]
    assert not (tmp_path / "all" / "set-aside").exists()  # the same inputs: the run went on
    typist.ran.clear()
    typist.fails_at = {}
    work.carry_out(protocol(tmp_path, raw), "as typed", typist)
    assert typist.ran == WHOLE[6:]


def test_a_step_that_left_cases_out_is_done_and_says_so(tmp_path: Path, raw: Path) -> None:
    bad = next(raw.glob("*Unlabeled*/*"))
    (bad.parent / "Case_00009_0000.nii.gz").write_bytes(b"no scan")
    work.carry_out(protocol(tmp_path, raw, fold="all"), "as typed", Typist())
    page = (tmp_path / "all" / "status.md").read_text()
    assert "check the scans and make a data set of them; some cases were left out" in page
    assert "on all cases" in page


def test_two_scans_of_one_name_are_refused_before_the_teachers_are_trained(tmp_path: Path, raw: Path) -> None:
    folder = next(raw.glob("*Unlabeled*"))
    for name in ("Case_00002_0000.nii.gz", "Case_00002.nii.gz"):
        write_volume(make_patient(105)[0], folder / name)
    typist = Typist()
    with pytest.raises(TrainingError, match="Case_00002"):
        work.carry_out(protocol(tmp_path, raw), "as typed", typist)
    assert typist.ran == ["data"]


def test_one_network_alone_needs_no_unlabelled_scans_and_five_folds_do(tmp_path: Path) -> None:
    raw = write_flare22(tmp_path / "raw", labelled=2)
    typist = Typist()
    with pytest.raises(TrainingError, match=r"there are no unlabelled scans.*or train one network with --fold all"):
        work.carry_out(protocol(tmp_path, raw), "as typed", typist)
    work.carry_out(protocol(tmp_path, raw, fold="all"), "as typed", typist)
    assert typist.ran[-4:] == ["teacher", "models", "parity", "card.md"]


def test_a_release_with_published_labels_needs_no_teacher(tmp_path: Path) -> None:
    raw = write_release(tmp_path / "release")

    class Agree(Typist):
        def run(self, words: Sequence[str]) -> int:
            if words[1] == "pseudo-label":
                self.ran.append("pseudo")
                assert words[words.index("--maps") + 1].endswith("pseudo_label_blackbean_flare22")
                return main(list(words[1:]))
            if words[1] == "onnx":
                shutil.rmtree(words[words.index("--to") + 1], ignore_errors=True)
                write_teacher(Path(words[words.index("--to") + 1]), blind_to=self.blind_to)
            elif words[0] == "attention_dmfnet":
                self.ran.append("predict")
                return predict([*words[1:], "--device", "cpu", "--backend", "onnxruntime"])
            elif words[0] == "evaluation":
                self.ran.append("score")
                return evaluate([*words[1:]])
            else:
                return super().run(words)
            self.ran.append("models")
            return 0

        blind_to: int | None = None

    # a scan that `predict` refuses is scored 0, and ends nothing
    held = raw / "validation"
    (held / "Validation-Public-Images" / "FLARETs_0002_0000.nii.gz").write_bytes(b"no scan")
    truth = (held / "Validation-Public-Labels" / "FLARETs_0001.nii.gz").read_bytes()
    (held / "Validation-Public-Labels" / "FLARETs_0002.nii.gz").write_bytes(truth)
    typist = Agree()
    work.carry_out(protocol(tmp_path, raw), "as typed", typist)
    assert [name for name in typist.ran if not name.startswith("card")] == [
        *("data", "coarse", "pseudo", "student-data", "student", "models", "parity", "predict", "score"),
    ]
    assert "Case_00101" in (tmp_path / "all" / "student-data" / "dataset.json").read_text()
    assert "| validation | done |" in (page := (tmp_path / "all" / "status.md").read_text())
    assert "label the scans for measuring; some cases were left out" in page
    scores = (tmp_path / "all" / "validation.csv").read_text()
    assert "FLARETs_0001" in scores
    assert "FLARETs_0002" in scores
    # other models label all anew: what is scored is theirs
    typist.ran.clear()
    typist.blind_to = 1
    (tmp_path / "all" / "models" / "manifest.json").unlink()
    work.carry_out(protocol(tmp_path, raw), "as typed", typist)
    assert typist.ran == ["models", "parity", "predict", "score"]
    assert (tmp_path / "all" / "validation.csv").read_text() != scores


def test_what_no_network_can_be_trained_by_is_told_before_anything_is_prepared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "flare22", "--data", str(tmp_path), "--to", str(tmp_path / "all"), "--set", "run.patience=4"]
    assert main([*words, "--fold", "all"]) == 1
    assert 'run.fold "all" holds out none' in capsys.readouterr().err
    assert not (tmp_path / "all").exists()


def test_two_cannot_work_in_one_folder_and_status_needs_nothing_else(
    tmp_path: Path, raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = tmp_path / "all"
    assert main(["run", "--to", str(to), "--status"]) == 1
    assert "nothing was begun in" in capsys.readouterr().err
    assert main(["run", "--to", str(to)]) == 1
    assert "name a recipe and folders of scans" in capsys.readouterr().err

    class Nosy(Typist):
        def run(self, words: Sequence[str]) -> int:
            with pytest.raises(TrainingError, match="is being worked on by another process"):
                work.carry_out(protocol(tmp_path, raw), "as typed", Typist())
            return super().run(words)

    nosy = Nosy()
    nosy.fails_at = {"coarse": 130}
    with pytest.raises(TrainingError, match="coarse was stopped"):
        work.carry_out(protocol(tmp_path, raw), "as typed", nosy)
    assert main(["run", "--to", str(to), "--status"]) == 0
    assert "| coarse | begun |" in capsys.readouterr().out


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "engine"), str(folder)])}


def test_processes_are_asked_to_stop_once_and_waited_for(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        # a line is one write: two processes share the pipe
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *a: (os.write(1, b'saved\\n'), sys.exit(143)))\n"
        "os.write(1, b'ready\\n')\ntime.sleep(600)\n"
    )
    code = "from training.paper.processes import run_commands\n"
    code += "print([each.status for each in run_commands([['slow']] * 3, at_once=2)])"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, env=environment(tmp_path), stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert [parent.stdout.readline() for _ in range(2)] == ["ready\n"] * 2
        parent.terminate()
        assert parent.stdout.read() == "saved\nsaved\n[143, 143, 143]\n"  # the third was never begun


def test_one_that_is_being_started_when_the_stop_comes_hears_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(600)\n")
    start = subprocess.Popen

    def started(*given: Any, **named: Any) -> "subprocess.Popen[bytes]":
        process: subprocess.Popen[bytes] = start(*given, **named)
        signal.raise_signal(signal.SIGTERM)
        return process

    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(subprocess, "Popen", started)
    assert [each.status for each in run_commands([["slow"]] * 2)] == [143, 143]


def test_those_at_once_see_a_gpu_each_and_one_that_fails_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "which.py").write_text(
        "import os, sys\nfrom pathlib import Path\n"
        "Path(sys.argv[1]).write_text(os.environ.get('CUDA_VISIBLE_DEVICES', 'any'))\nsys.exit(int(sys.argv[2]))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    commands = [["which", str(tmp_path / f"{number}"), str(number)] for number in range(3)]
    assert [each.status for each in run_commands(commands, at_once=2)] == [0, 1, 2]
    seen = [(tmp_path / f"{number}").read_text() for number in range(3)]
    assert seen[:2] == ["3", "5"]
    assert seen[2] in ("3", "5")
    assert [each.status for each in run_commands(commands[:1])] == [0]
    assert (tmp_path / "0").read_text() == "3,5"


def test_looking_at_a_run_needs_no_torch(tmp_path: Path) -> None:
    code = "import sys; sys.modules['torch'] = None; from training.__main__ import main; main(sys.argv[1:])"
    words = ["run", "--to", str(tmp_path), "--status"]
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True)
    assert "nothing was begun in" in done.stderr, done.stderr
