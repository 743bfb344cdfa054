"""The mean of several runs' weights is a run of its own."""

from pathlib import Path

import msgspec
import pytest
import torch

from training.__main__ import main
from training.learning.checkpoint import build_network, load_trained, save_trained
from training.recipe import Recipe, load_recipe

WIDTHS = ["network.stem=8", "network.width=16", "network.groups=4"]


@pytest.fixture
def recipe() -> Recipe:
    return load_recipe("painted-fine", None, WIDTHS)


def write_run(run: Path, recipe: Recipe, seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    network = build_network(recipe)
    save_trained(run, network, recipe)
    return network.state_dict()


def test_each_weight_is_the_mean(tmp_path: Path, recipe: Recipe) -> None:
    states = [write_run(tmp_path / f"run{seed}", recipe, seed) for seed in range(3)]
    runs = [str(tmp_path / f"run{seed}") for seed in range(3)]
    assert main(["average", *runs, "--to", str(tmp_path / "mean")]) == 0
    found = load_trained(tmp_path / "mean").network.state_dict()
    assert found.keys() == states[0].keys()
    for name, value in found.items():
        torch.testing.assert_close(
            value, sum(state[name] for state in states) / 3 if value.is_floating_point() else value
        )
    assert any(not torch.equal(value, states[0][name]) for name, value in found.items())


def test_equal_runs_stay_what_they_are(tmp_path: Path, recipe: Recipe) -> None:
    state = write_run(tmp_path / "run", recipe, 1)
    write_run(tmp_path / "same", recipe, 1)
    assert main(["average", str(tmp_path / "run"), str(tmp_path / "same"), "--to", str(tmp_path / "mean")]) == 0
    for name, value in load_trained(tmp_path / "mean").network.state_dict().items():
        assert torch.equal(value, state[name])


def test_runs_on_other_grids_are_refused(tmp_path: Path, recipe: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "one", recipe, 1)
    grid = msgspec.structs.replace(recipe.grid, spacing_zyx=(2.0, 2.0, 2.0))
    write_run(tmp_path / "other", msgspec.structs.replace(recipe, grid=grid), 2)
    assert main(["average", str(tmp_path / "one"), str(tmp_path / "other"), "--to", str(tmp_path / "mean")]) == 1
    assert "has another network, grid or window" in capsys.readouterr().err
    assert not (tmp_path / "mean").exists()


def test_weights_that_are_there_are_not_replaced_and_one_run_has_no_mean(
    tmp_path: Path, recipe: Recipe, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "one", recipe, 1)
    assert main(["average", str(tmp_path / "one"), "--to", str(tmp_path / "mean")]) == 1
    assert "name two or more" in capsys.readouterr().err
    assert main(["average", str(tmp_path / "one"), str(tmp_path / "one"), "--to", str(tmp_path / "one")]) == 1
    assert "holds weights already" in capsys.readouterr().err


def test_a_run_that_is_named_twice_is_refused(
    tmp_path: Path, recipe: Recipe, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "one", recipe, 1)
    (tmp_path / "link").symlink_to(tmp_path / "one")
    assert main(["average", str(tmp_path / "one"), str(tmp_path / "link"), "--to", str(tmp_path / "mean")]) == 1
    assert "is named twice" in capsys.readouterr().err
    assert not (tmp_path / "mean").exists()
