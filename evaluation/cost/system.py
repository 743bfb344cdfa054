"""What is measured: a command that labels the scans of one folder into another, started anew for every case."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from attention_dmfnet.marks import TRACE_VARIABLE

from evaluation.errors import ArgumentsError

PREDICT = Path(__file__).resolve().parents[2] / "predict.sh"

PROTOCOLS: dict[str, tuple[str, ...]] = {"flare22": (), "flare23": ("--shm-size=28gb", "-m", "28G")}
"""What the organisers' command limits a container to, from one of their editions on."""

MARKS_NAME = ".step-marks.jsonl"
"""What the file with the engine's step marks is called, in the folder of the outputs."""


@dataclass(frozen=True, slots=True)
class System:
    """A command as words: ``{inputs}`` and ``{outputs}`` stand for the two folders.

    A command that starts a container also has ``{container}``, which becomes the container's name, and ``{id_file}``,
    where its id is written; ``container_engine`` is the program that runs it and can stop it.
    """

    name: str
    words: tuple[str, ...]
    container_engine: str | None = None

    def command(self, inputs: Path, outputs: Path, container: str = "", id_file: Path = Path()) -> list[str]:
        """The words with everything filled in; other braces stay as they are."""
        places: dict[str, Path | str] = {
            "{inputs}": inputs,
            "{outputs}": outputs,
            "{container}": container,
            "{id_file}": id_file,
        }
        return [_fill(word, places) for word in self.words]

    def line(self) -> str:
        """The command as one would type it, with the places still open."""
        return " ".join(word if _plain(word) else shlex.quote(word) for word in self.words)

    def variables(self, outputs: Path) -> dict[str, str]:
        """The environment variables to be added for the command: where to write step marks (not for a container)."""
        return {} if self.container_engine else {TRACE_VARIABLE: str(outputs / MARKS_NAME)}


def command_system(text: str, name: str = "command") -> System:
    """The system that a line such as ``sh predict.sh {inputs} {outputs}`` starts; quotes as in a shell, but no shell.

    Raises ``ArgumentsError``.
    """
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise ArgumentsError(f"the command {text!r} cannot be split into words: {error}") from error
    for place in ("{inputs}", "{outputs}"):
        if not any(place in word for word in words):
            raise ArgumentsError(f"the command {text!r} must name the folder {place}, with the braces")
    return System(name, words)


def engine_system(options: str = "") -> System:
    """Our own engine as it is in this clone, started by its ``predict.sh``."""
    return System("attention-dmfnet", ("sh", str(PREDICT), "{inputs}", "{outputs}", *shlex.split(options)))


def image_system(
    image: str, gpu_index: int | None, container_engine: str = "docker", protocol: str = "flare22"
) -> System:
    """The organisers' command for an image; ``gpu_index`` None leaves ``--gpus`` out, which fails without a GPU.

    ``protocol`` is one of ``PROTOCOLS``. Beyond the organisers' words it asks for the container's id and hands in where
    to write step marks.
    """
    gpus = () if gpu_index is None else (f"--gpus=device={gpu_index}",)
    words = (
        *(container_engine, "container", "run", *gpus, "--name", "{container}", "--rm", *PROTOCOLS[protocol]),
        *("--cidfile", "{id_file}"),
        *("-e", f"{TRACE_VARIABLE}=/workspace/outputs/{MARKS_NAME}"),
        *("-v", "{inputs}/:/workspace/inputs/", "-v", "{outputs}/:/workspace/outputs/"),
        *(image if ":" in image.rpartition("/")[2] else f"{image}:latest", "/bin/bash", "-c", "sh predict.sh"),
    )
    return System(image, words, container_engine)


def _fill(word: str, places: Mapping[str, Path | str]) -> str:
    for place, value in places.items():
        word = word.replace(place, str(value))
    return word


def _plain(word: str) -> bool:
    """Whether a shell takes the word as it is, the braces of places apart."""
    letters = word.replace("{", "").replace("}", "")
    return shlex.quote(letters) == letters
