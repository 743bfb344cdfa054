"""Claims about the training loop: it learns, can be stopped and resumed at any moment, and keeps what is good."""

import errno
import json
import os
import pickle
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from safetensors import safe_open
from safetensors.torch import load_file

from tests.training.spheres import Spheres, cases, paint, recipe
from training.arrays import Hu, Labels
from training.errors import TrainingError
from training.learning.batches import RECALIBRATION, batches
from training.learning.checkpoint import CheckpointError, load_trained
from training.learning.fit import Machine, fit
from training.learning.learner import Learner, _pick_forms, next_to_zero_is_zero
from training.learning.optimiser import Averaged, learning_rate
from training.learning.run_files import read_log
from training.learning.source import Sample
from training.learning.stop import TrainingStoppedError
from training.learning.validation import ValidationCase, mean_dsc, predict, validate
from training.recipe import Schedule, write_recipe

CPU = Machine("cpu", threads=1)


class SpheresUntil(Spheres):
    """Ends in ``act`` when its nth sample is drawn."""

    def __init__(self, count: int, act: Any) -> None:
        self.left, self.act = count, act

    def sample(self, rng: np.random.Generator) -> Sample:
        self.left -= 1
        if self.left == 0:
            self.act()
        return super().sample(rng)


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def rows_without_times(run: Path) -> list[dict[str, object]]:
    return [{key: value for key, value in row.items() if key != "minutes"} for row in read_log(run / "log.jsonl")]


def checkpoint_tensors(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoint.safetensors")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 20 epochs, some seconds."""
    run = tmp_path_factory.mktemp("runs") / "trained"
    fit(recipe(epochs=20, snapshots_at=(0.5,)), run, Spheres(), cases(2), CPU)
    return run


def test_a_network_learns_to_find_bright_and_grey_balls(trained: Path) -> None:
    final = read_log(trained / "log.jsonl")[-1]
    assert final["final"] is True
    assert float(str(final["mean_dsc"])) > 0.7


def test_the_exported_weights_are_the_ones_that_were_scored(trained: Path) -> None:
    loaded = load_trained(trained)
    image, labels = paint(np.random.default_rng((99, 0)))
    predicted = predict(loaded.network, loaded.recipe, image, torch.device("cpu"))
    dice = 2 * ((predicted == 1) & (labels == 1)).sum() / ((predicted == 1).sum() + (labels == 1).sum())
    assert dice > 0.7
    assert not loaded.network.training


def test_a_log_has_one_row_an_epoch_and_the_scores_by_organ(trained: Path) -> None:
    rows = read_log(trained / "log.jsonl")
    assert [row["epoch"] for row in rows if "epoch" in row] == list(range(1, 21))
    assert rows[-1].keys() >= {"mean_dsc", "mean_nsd", "dsc", "nsd", "cases"}
    assert list((trained / "tensorboard").glob("events*"))


def test_a_snapshot_can_be_loaded_like_a_finished_run(trained: Path) -> None:
    half_way = load_trained(trained / "snapshot-50")
    assert half_way.recipe == load_trained(trained).recipe
    assert not torch.equal(half_way.network.head.weight, load_trained(trained).network.head.weight)


def test_no_file_of_a_run_is_pickled(trained: Path) -> None:
    for path in trained.rglob("*.*"):
        if path.is_file() and "tensorboard" not in path.parts:
            with pytest.raises((pickle.UnpicklingError, ValueError, EOFError, KeyError, IndexError)):
                pickle.loads(path.read_bytes())
    assert {path.suffix for path in trained.iterdir() if path.is_file()} == {".toml", ".safetensors", ".jsonl", ".json"}


@pytest.mark.parametrize("stop", [terminate, interrupt])
@pytest.mark.parametrize(("optimiser", "freeze_at"), [("adamw", 1.0), ("sgd", 1.0), ("sgd", 0.3)])
def test_a_stopped_run_resumes_to_the_very_numbers_of_an_uninterrupted_one(
    tmp_path: Path, stop: Any, optimiser: str, freeze_at: float
) -> None:
    how = recipe(optimiser, epochs=3)
    how = replace(how, schedule=replace(how.schedule, freeze_norm_at=freeze_at, freeze_samples=2))
    fit(how, tmp_path / "whole", Spheres(), cases(1), CPU)
    with pytest.raises(TrainingStoppedError, match="stopped at step 6, 50% of the budget"):
        # sample 11 and 12 make up step 6, in the middle of the second epoch; two more are drawn when norms are frozen
        fit(how, tmp_path / "parts", SpheresUntil(11 if freeze_at == 1 else 13, stop), cases(1), CPU)
    fit(how, tmp_path / "parts", Spheres(), cases(1), CPU, resume=True)
    assert rows_without_times(tmp_path / "parts") == rows_without_times(tmp_path / "whole")
    whole, parts = checkpoint_tensors(tmp_path / "whole"), checkpoint_tensors(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    weights = "weights.safetensors"
    assert (tmp_path / "parts" / weights).read_bytes() == (tmp_path / "whole" / weights).read_bytes()


class StoppedWhileScored(Spheres):
    """Its validation cases end in SIGTERM when they are read for the first time."""

    def __init__(self) -> None:
        self.calls = 0

    def cases(self) -> list[ValidationCase]:
        def read() -> tuple[Hu, Labels]:
            self.calls += 1
            if self.calls == 1:
                terminate()
            return paint(np.random.default_rng((99, 0)))

        return [ValidationCase(f"case-{number}", frozenset({1, 2}), read) for number in range(2)]


def test_a_run_that_is_stopped_while_cases_are_scored_scores_them_when_it_is_resumed(tmp_path: Path) -> None:
    how = recipe(epochs=3, validate_every_epochs=1)
    source = StoppedWhileScored()
    with pytest.raises(TrainingStoppedError, match="stopped while cases were being scored"):
        fit(how, tmp_path / "parts", source, source.cases(), CPU)
    fit(how, tmp_path / "parts", source, source.cases(), CPU, resume=True)
    scored = [row["step"] for row in read_log(tmp_path / "parts" / "log.jsonl") if "cases" in row]
    assert scored == [4, 8, 12]
    steps = [row["step"] for row in read_log(tmp_path / "parts" / "log.jsonl") if "epoch" in row]
    assert steps == [4, 8, 12]


def test_the_stop_is_told_with_the_signals_number(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(TrainingStoppedError) as stopped:
        fit(recipe(), tmp_path, SpheresUntil(3, terminate), machine=CPU)
    assert stopped.value.signal_number == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == before


class NoNumber(Spheres):
    """From its ninth sample on, scans without a number in them."""

    def __init__(self) -> None:
        self.drawn = 0

    def sample(self, rng: np.random.Generator) -> Sample:
        self.drawn += 1
        sample = super().sample(rng)
        if self.drawn > 8:
            sample.image[:] = np.nan
        return sample


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    how = recipe(checkpoint_every_s=1e-9)  # after every step
    with pytest.raises(TrainingError, match=r"loss became nan at step 5; .* still good; try a lower learning rate"):
        fit(how, tmp_path, NoNumber(), machine=CPU)
    assert all(
        bool(value.isfinite().all()) for value in checkpoint_tensors(tmp_path).values() if value.is_floating_point()
    )
    fit(how, tmp_path, Spheres(), machine=CPU, resume=True)
    assert load_trained(tmp_path).network.head.weight.isfinite().all()


def test_a_full_disk_stops_the_run_with_a_sentence_and_keeps_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = 0
    fsync = os.fsync

    def full(descriptor: int) -> None:
        nonlocal written
        written += 1
        if written > 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TrainingError, match=r"the disk of .* is full .* go on with --resume"):
        fit(recipe(checkpoint_every_s=1e-9), tmp_path, Spheres(), machine=CPU)
    monkeypatch.undo()
    assert not list(tmp_path.glob("*.part"))
    fit(recipe(), tmp_path, Spheres(), machine=CPU, resume=True)
    assert load_trained(tmp_path)


@pytest.mark.parametrize("place", ["folder", "recipe", "first checkpoint"])
def test_a_disk_that_is_full_before_the_first_checkpoint_is_not_said_to_hold_one(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first files of a run are its recipe and its environment, the third is the checkpoint."""
    left = {"folder": 0, "recipe": 0, "first checkpoint": 2}[place]
    fsync, mkdir = os.fsync, Path.mkdir

    def full(descriptor: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    def no_folder(path: Path, *given: object, **named: object) -> None:
        if path == tmp_path / "run":
            raise OSError(errno.ENOSPC, "No space left on device")
        mkdir(path, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "fsync", full)
    if place == "folder":
        monkeypatch.setattr(Path, "mkdir", no_folder)
    with pytest.raises(TrainingError, match=r"the disk of .* is full .* there is no checkpoint yet: .* start again"):
        fit(recipe(checkpoint_every_s=1e-9), tmp_path / "run", Spheres(), machine=CPU)


class EndsItsWorker(Spheres):
    """Kills the data worker that draws sample ``number``."""

    def __init__(self, number: int, how: signal.Signals) -> None:
        self._state = np.random.default_rng((1, number)).bit_generator.state
        self._how = how

    def sample(self, rng: np.random.Generator) -> Sample:
        if rng.bit_generator.state == self._state:
            os.kill(os.getpid(), self._how)
        return super().sample(rng)


@pytest.mark.parametrize(
    ("how", "words"), [(signal.SIGKILL, "a data worker was killed"), (signal.SIGBUS, "/dev/shm, .* is full")]
)
def test_a_data_worker_that_is_killed_leaves_a_checkpoint_and_advice(
    how: signal.Signals, words: str, tmp_path: Path
) -> None:
    here = recipe()
    workers = replace(here, sampling=replace(here.sampling, workers=1))
    # each sample of a run with seed 1 has its own generator
    source = EndsItsWorker(5 * here.run.batch, how)
    with pytest.raises(TrainingError, match=rf"{words}.*sampling.workers=.*--resume") as told:
        fit(workers, tmp_path, source, machine=CPU)
    assert "\n" not in str(told.value)
    # as advised: the run goes on without workers, to the numbers of one that was never stopped
    fit(here, tmp_path, Spheres(), machine=CPU, resume=True)
    fit(here, tmp_path / "whole", Spheres(), machine=CPU)
    mine, whole = (load_file(run / "weights.safetensors") for run in (tmp_path, tmp_path / "whole"))
    assert all(torch.equal(mine[key], whole[key]) for key in whole)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "/torch_1"),
        RuntimeError("unable to write to file </torch_12_34_0>: No space left on device (28)"),
        RuntimeError("unable to mmap 1024 bytes from file </torch_1>: Cannot allocate shared memory"),
    ],
)
def test_a_full_shared_memory_is_not_taken_for_the_runs_disk(error: Exception, tmp_path: Path) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(TrainingError, match=r"^/dev/shm, .* is full; .*--shm-size") as told:
        fit(recipe(), tmp_path, SpheresUntil(3, fail), machine=CPU)
    assert "the disk of" not in str(told.value)


def test_a_folder_with_a_run_is_not_overwritten(trained: Path) -> None:
    with pytest.raises(TrainingError, match="holds a run already; add --resume"):
        fit(recipe(), trained, Spheres(), machine=CPU)


def test_a_run_is_not_resumed_on_other_data(trained: Path) -> None:
    class Others(Spheres):
        fingerprint = {"spheres": "2"}  # noqa: RUF012 - never changed

    with pytest.raises(CheckpointError, match=r"was trained on other data \(spheres differ\)"):
        fit(recipe(epochs=20, snapshots_at=(0.5,)), trained, Others(), machine=CPU, resume=True)


def test_a_damaged_checkpoint_is_told(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.safetensors").write_bytes(b"no header")
    (tmp_path / "recipe.toml").write_text(write_recipe(recipe()))
    with pytest.raises(CheckpointError, match="damaged"):
        fit(recipe(), tmp_path, Spheres(), machine=CPU, resume=True)


def test_an_unfinished_run_cannot_be_exported(tmp_path: Path) -> None:
    with pytest.raises(TrainingStoppedError):
        fit(recipe(), tmp_path, SpheresUntil(3, terminate), machine=CPU)
    with pytest.raises(CheckpointError, match="the run is not finished: go on with --resume"):
        load_trained(tmp_path)


def test_a_checkpoint_says_how_far_the_run_had_come_and_on_which_data(trained: Path) -> None:
    with safe_open(trained / "checkpoint.safetensors", framework="pt") as file:
        metadata = file.metadata()
    assert json.loads(metadata["progress"])["step"] == 80
    assert json.loads(metadata["data"]) == {"spheres": "1"}


def test_a_run_may_begin_with_the_weights_of_another(tmp_path: Path, trained: Path) -> None:
    fit(recipe(epochs=1), tmp_path, Spheres(), machine=CPU, start_from=trained / "weights.safetensors")
    first = float(str(read_log(tmp_path / "log.jsonl")[0]["loss"]))
    assert first < float(str(read_log(trained / "log.jsonl")[0]["loss"])) / 2


def test_a_run_that_goes_on_needs_no_file_that_it_began_with_and_refuses_another(tmp_path: Path, trained: Path) -> None:
    weights, run = tmp_path / "weights.safetensors", tmp_path / "run"
    weights.write_bytes((trained / "weights.safetensors").read_bytes())
    fit(recipe(epochs=1), run, Spheres(), machine=CPU, start_from=weights)
    fit(recipe(epochs=2), run, Spheres(), machine=CPU, resume=True, start_from=weights)
    # the very same elsewhere is no other
    fit(recipe(epochs=2), run, Spheres(), machine=CPU, resume=True, start_from=trained / "weights.safetensors")
    other = trained / "snapshot-50" / "weights.safetensors"
    with pytest.raises(CheckpointError, match=r"run was begun with other weights than .*snapshot-50.*; leave out"):
        fit(recipe(epochs=3), run, Spheres(), machine=CPU, resume=True, start_from=other)
    weights.unlink()
    fit(recipe(epochs=3), run, Spheres(), machine=CPU, resume=True, start_from=weights)
    assert read_log(run / "log.jsonl")[-1]["step"] == 12
    fresh = recipe(epochs=20, snapshots_at=(0.5,))
    with pytest.raises(CheckpointError, match=r"was begun with fresh weights, not .*snapshot-50"):
        fit(fresh, trained, Spheres(), machine=CPU, resume=True, start_from=other)


def test_a_step_in_bfloat16_computes_in_bfloat16_in_one_process_too() -> None:
    settings = recipe(precision="bfloat16")
    learner = Learner(settings, CPU.launch(settings), None)
    precisions = set()
    for module in learner.network.modules():
        if isinstance(module, torch.nn.Conv3d):
            module.register_forward_hook(lambda _, inputs, output: precisions.add(output.dtype))
    learner.gradients(next(learner.batches(Spheres(), first=0)), step=0, share=0.0)
    assert precisions == {torch.bfloat16}


@pytest.mark.parametrize(("device", "timed"), [("cpu", True), ("cuda", False), ("cuda", True)])
def test_forms_of_convolutions_are_timed_on_a_gpu_alone_and_only_if_the_recipe_wants_it(
    device: str, timed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[torch.device] = []
    put: list[object] = []
    network = SimpleNamespace(to=moved.append)
    fabric = SimpleNamespace(device=torch.device(device), autocast=None)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    monkeypatch.setattr(torch, "ones", lambda *_, **__: None)  # the samples that are timed lie on a GPU
    monkeypatch.setattr("training.learning.learner.pick_forms", lambda *_: SimpleNamespace(put=put.append))
    picked = _pick_forms(cast(Any, network), recipe(time_forms=timed), cast(Any, fabric), 1)
    on_gpu = device == "cuda"
    assert (picked is not None) is (on_gpu and timed)
    assert put == ([network] if on_gpu and timed else [])
    assert moved == ([fabric.device] if on_gpu else [])
    assert torch.backends.cudnn.benchmark is on_gpu


def test_batchnorm_is_frozen_with_the_statistics_of_the_weights_as_they_are(tmp_path: Path) -> None:
    how = recipe("sgd", epochs=1, batch=1)  # of its 4 steps, the last two with frozen norms
    how = replace(how, schedule=replace(how.schedule, freeze_norm_at=0.5, freeze_samples=3))
    learner = Learner(how, CPU.launch(how), None)
    learner.network.encode1.weight.data *= 100  # as if it had learned fast: running statistics still know nothing of it
    images = [next(batches(Spheres(), how, first=RECALIBRATION + n, rank=0, processes=1)).images for n in range(3)]
    with torch.no_grad():
        seen = torch.stack([learner.network.encode1(image).mean((0, 2, 3, 4)) for image in images]).mean(0)
    learner.prepare_to_freeze(Spheres())
    norm = learner.network.get_submodule("encode2.0.mix_in.0")
    assert isinstance(norm, torch.nn.BatchNorm3d)
    torch.testing.assert_close(norm.running_mean, seen, rtol=1e-3, atol=1e-3)
    assert norm.training
    fit(how, tmp_path, Spheres(), machine=CPU)
    (only,) = [key for key in checkpoint_tensors(tmp_path) if key == "network.encode2.0.mix_in.0.num_batches_tracked"]
    # the three of the recalibration, not the two steps before it, and none after it
    assert checkpoint_tensors(tmp_path)[only] == 3


class LaterEmpty(Spheres):
    """From the 121st sample on, nothing is labelled: what was learned is unlearned."""

    def __init__(self) -> None:
        self.drawn = 0

    def sample(self, rng: np.random.Generator) -> Sample:
        self.drawn += 1
        image, labels = paint(rng)
        return Sample(image, labels if self.drawn <= 120 else np.zeros_like(labels))


def test_the_best_weights_on_held_out_cases_are_kept_beside_the_last(tmp_path: Path) -> None:
    how = recipe(epochs=24, validate_every_epochs=6)
    fit(how, tmp_path, LaterEmpty(), cases(1), CPU)
    scored = {
        int(str(row["step"])): float(str(row["mean_dsc"])) for row in rows_without_times(tmp_path) if "cases" in row
    }
    assert list(scored) == [24, 48, 72, 96]
    best = max(scored, key=lambda step: scored[step])
    assert scored[best] > scored[96] + 0.1
    with safe_open(tmp_path / "checkpoint.safetensors", framework="pt") as file:
        progress = json.loads(file.metadata()["progress"])
    assert (progress["best_step"], round(progress["best_dsc"], 4)) == (best, scored[best])
    for folder, step in ((tmp_path / "best", best), (tmp_path, 96)):
        kept = load_trained(folder)
        assert mean_dsc(validate(kept.network, kept.recipe, cases(1), torch.device("cpu"))) == pytest.approx(
            scored[step], abs=1e-3
        )


def test_a_run_without_patience_left_ends_and_does_not_go_on_when_resumed(tmp_path: Path) -> None:
    how = recipe(epochs=48, validate_every_epochs=6, validation_cases=1, patience=1)
    fit(how, tmp_path, LaterEmpty(), cases(1), CPU)
    log = (tmp_path / "log.jsonl").read_text()
    last = rows_without_times(tmp_path)[-1]["step"]
    with safe_open(tmp_path / "checkpoint.safetensors", framework="pt") as file:
        progress = json.loads(file.metadata()["progress"])
    assert last == progress["step"] == progress["best_step"] + 24 < 96
    fit(how, tmp_path, LaterEmpty(), cases(1), CPU, resume=True)
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) <= len(log.splitlines()) + 1  # the final score again
    with pytest.raises(ValueError, match=r"run\.patience needs scores on the way"):
        recipe(patience=1)


def test_the_hours_to_go_are_told_once_by_a_budget_of_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("training.learning.journal.Journal.say", lambda journal, line: said.append(line))
    fit(recipe(epochs=11), tmp_path, Spheres(), machine=CPU)  # 44 steps; told after 40
    told = [line for line in said if "hours to go at the pace of the first steps" in line]
    assert told == ["0.0 hours to go at the pace of the first steps, scoring apart"]


def test_without_scores_on_the_way_no_weights_are_called_the_best(trained: Path) -> None:
    assert not (trained / "best").exists()


class SpheresInSinglePrecision(Spheres):
    """Notes whether torch would compute in another precision while a sample is made."""

    def __init__(self) -> None:
        self.autocast: list[bool] = []

    def sample(self, rng: np.random.Generator) -> Sample:
        self.autocast.append(torch.is_autocast_enabled("cpu"))
        return super().sample(rng)


def test_a_network_is_recalibrated_in_bfloat16_on_samples_made_in_single_precision() -> None:
    settings = recipe(precision="bfloat16")
    settings = replace(settings, schedule=replace(settings.schedule, recalibrate_samples=2))
    source = SpheresInSinglePrecision()
    learner = Learner(settings, CPU.launch(settings), None)
    precisions = set()
    for module in learner.averaged.network.modules():
        if isinstance(module, torch.nn.Conv3d):
            module.register_forward_hook(lambda _module, _inputs, output: precisions.add(output.dtype))
    learner.export_network(source)
    assert source.autocast
    assert not any(source.autocast)
    assert precisions == {torch.bfloat16}


def test_next_to_zero_is_zero_while_a_network_learns_and_not_afterwards() -> None:
    tiny = torch.tensor([1e-39, 1.0])  # the smallest normal number is 1.2e-38
    with next_to_zero_is_zero():
        assert (tiny * 1).tolist() == [0, 1]
    assert (tiny * 1)[0] > 0


def test_samples_do_not_depend_on_who_draws_them() -> None:
    here = recipe()
    elsewhere = replace(here, sampling=replace(here.sampling, workers=2))
    one, other = (batches(Spheres(), how, first=4, rank=0, processes=1) for how in (here, elsewhere))
    for _ in range(3):
        torch.testing.assert_close(next(one).images, next(other).images, rtol=0, atol=0)


def test_the_rate_is_halved_every_so_many_epochs() -> None:
    how = replace(recipe(steps_per_epoch=10, epochs=8), schedule=Schedule("halving", halve_every_epochs=2))
    rates = [learning_rate(how, step, 0.0) / how.optimiser.learning_rate for step in (0, 19, 20, 39, 40, 60)]
    assert rates == [1, 1, 0.5, 0.5, 0.25, 0.125]


def test_the_cosine_warms_up_and_falls_to_zero_with_the_budget() -> None:
    how = recipe()  # two steps of warm-up, peak 0.01
    assert learning_rate(how, 0, 0.0) == pytest.approx(0.005)
    assert learning_rate(how, 5, 0.5) == pytest.approx(0.005)
    assert learning_rate(how, 7, 1.0) == pytest.approx(0)


def test_the_average_follows_the_weights_and_none_at_all_is_a_copy() -> None:
    network = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(network.weight)
    slow, none = Averaged(network, 0.9), Averaged(network, 0.0)
    torch.nn.init.ones_(network.weight)
    slow.follow(network, step=10**6)
    none.follow(network, step=10**6)
    assert next(slow.network.parameters()).item() == pytest.approx(0.1)
    assert next(none.network.parameters()).item() == 1
