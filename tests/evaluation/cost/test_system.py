from pathlib import Path

import pytest
from attention_dmfnet.marks import TRACE_VARIABLE

from evaluation.cost.system import PREDICT, command_system, engine_system, image_system
from evaluation.errors import ArgumentsError

PLACES = (Path("/a b/in"), Path("/out"))


def test_folders_are_filled_in_wherever_they_stand_and_other_braces_stay() -> None:
    system = command_system("sh -c 'run --from={inputs} {x}' {outputs}")
    assert system.command(*PLACES) == ["sh", "-c", "run --from=/a b/in {x}", "/out"]


def test_a_command_is_told_as_it_was_typed() -> None:
    line = "sh predict.sh {inputs}/ {outputs} --note 'two words'"
    assert command_system(line).line() == line


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("run {inputs}", r"\{outputs\}"),
        ("run {outputs}", r"\{inputs\}"),
        ("run '{inputs} {outputs}", "cannot be split"),
    ],
)
def test_a_command_that_cannot_be_used_is_refused(line: str, why: str) -> None:
    with pytest.raises(ArgumentsError, match=why):
        command_system(line)


def test_a_command_is_asked_for_step_marks_beside_its_labels() -> None:
    assert command_system("run {inputs} {outputs}").variables(Path("/out")) == {
        TRACE_VARIABLE: "/out/.step-marks.jsonl"
    }


def test_our_own_engine_is_started_by_its_script() -> None:
    assert PREDICT.is_file()
    assert engine_system("--device cpu").command(*PLACES) == ["sh", str(PREDICT), "/a b/in", "/out", "--device", "cpu"]


def test_an_image_without_a_tag_is_the_latest_and_without_a_gpu_none_is_asked_for() -> None:
    assert "team:latest" in image_system("team", None).words
    assert "host:5000/team:latest" in image_system("host:5000/team", None).words
    assert "team:v2" in image_system("team:v2", None).words
    assert not any(word.startswith("--gpus") for word in image_system("team", None).words)


def test_the_organisers_later_editions_limit_the_containers_memory() -> None:
    words = image_system("team", 1, protocol="flare23").words
    assert words[:8] == (
        "docker",
        "container",
        "run",
        "--gpus=device=1",
        "--name",
        "{container}",
        "--rm",
        "--shm-size=28gb",
    )
    assert words[8:10] == ("-m", "28G")
    assert "--shm-size=28gb" not in image_system("team", 1).words
