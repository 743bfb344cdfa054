"""What is fuzzed: each reader with the files it gets, and the errors it may raise."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tests.fuzz import mutations
from tests.fuzz.mutations import Mutate

if TYPE_CHECKING:
    from attention_dmfnet.model.manifest import Stage

CORPUS = Path(__file__).parent / "corpus"

Run = Callable[[Path, Path], list[str]]
"""Reads the mutant, the first path, in its folder, the second; returns what would be said to the user."""

Begin = Callable[[], tuple[Run, tuple[type[Exception], ...]]]
"""Imports what reading needs; returns the reader and the errors it may raise."""


@dataclass(frozen=True)
class Target:
    """A reader. ``corpus`` is a folder of ``CORPUS``: all of it is laid out, one file of it is a mutant.

    ``begin`` imports what reading needs and returns the reader and the errors it may raise.
    """

    corpus: str
    begin: Begin
    mutate: Mutate | None = None

    def seeds(self) -> list[Path]:
        """The files that mutants are made of."""
        return sorted(path for path in (CORPUS / self.corpus).rglob("*") if path.is_file() and _is_mutable(path))

    def mutant(self, number: int) -> tuple[Path, bytes]:
        """Of which seed mutant ``number`` is, and its content. The first ones are the seeds themselves."""
        seeds = self.seeds()
        if number < len(seeds):
            return seeds[number], seeds[number].read_bytes()
        rng = Random(f"{self.corpus} {number}")
        seed = rng.choice(seeds)
        others = [path.read_bytes() for path in seeds if path.suffix == seed.suffix and path != seed]
        mutate = self.mutate or _BY_NAME[seed.suffix]
        return seed, mutate(rng, seed.read_bytes(), others)

    def lay_out(self, number: int, folder: Path) -> Path:
        """Put mutant ``number``, and what lies beside it, into the new folder ``folder``; returns its place."""
        seed, content = self.mutant(number)
        if self.mutate is None:
            shutil.copytree(CORPUS / self.corpus, folder)
        else:
            folder.mkdir(parents=True)
            for path in (CORPUS / self.corpus).glob("*.raw"):
                shutil.copy(path, folder)
        place = folder / seed.relative_to(CORPUS / self.corpus)
        place.write_bytes(content)
        return place


_BY_NAME: dict[str, Mutate] = {
    ".json": mutations.json_file,
    ".csv": mutations.table,
    ".toml": mutations.lines,
    ".npy": mutations.scrambled,
    ".b2nd": mutations.scrambled,
    ".onnx": mutations.protobuf,
    ".safetensors": mutations.safetensors,
}


def _is_mutable(path: Path) -> bool:
    # empty files stand for scans, by their names; voxels in a file of their own are no matter of fields
    return (path.stat().st_size > 0 or path.suffix == ".damage") and path.suffix != ".raw"


# ---- the engine ------------------------------------------------------------------------------------------------------


def _scan() -> tuple[Run, tuple[type[Exception], ...]]:
    from attention_dmfnet.files.cases import ScanFile
    from attention_dmfnet.files.image_io import ImageError, read_geometry, read_scan, write_labels
    from attention_dmfnet.files.label_maps import fault_of_label_map
    from attention_dmfnet.geometry import Volume
    from attention_dmfnet.notes import Note

    def run(path: Path, folder: Path) -> list[str]:
        fault = fault_of_label_map(path, ScanFile(path))
        notes: list[Note] = []
        volume = read_scan(path, notes)
        assert volume.array.dtype in (np.int16, np.float32)
        assert np.isfinite(volume.array).all()
        assert read_geometry(path).matches(volume.geometry)
        labels = folder / "labels.nii.gz"
        write_labels(Volume(np.zeros(volume.array.shape, np.uint8), volume.geometry), labels)
        again = fault_of_label_map(labels, ScanFile(path))
        assert again is None, again
        return [*([fault] if fault else []), *(str(note) for note in notes)]

    return run, (ImageError,)


def _manifest() -> tuple[Run, tuple[type[Exception], ...]]:
    from attention_dmfnet.model.manifest import ManifestError, load_manifest

    def run(path: Path, folder: Path) -> list[str]:
        load_manifest(path.parent)
        return []

    return run, (ManifestError,)


def _graph() -> tuple[Run, tuple[type[Exception], ...]]:
    from attention_dmfnet.model.external_data import with_weights
    from attention_dmfnet.model.network import LoadError

    def run(path: Path, folder: Path) -> list[str]:
        weights = folder / "weights.safetensors"
        with_weights((folder / "graph.onnx").read_bytes(), "graph.onnx", weights.read_bytes(), weights.name)
        return []

    return run, (LoadError,)


NETWORK_TILE_ZYX, NETWORK_CLASSES = (8, 8, 8), 3


def _network_in(backend: Literal["openvino", "onnxruntime"]) -> Begin:
    """Files of a network whose hashes are right: what was damaged before the manifest was written, or on purpose."""

    def begin() -> tuple[Run, tuple[type[Exception], ...]]:
        from attention_dmfnet.model.network import NetworkError

        def run(path: Path, folder: Path) -> list[str]:
            _compute(folder, backend)
            return []

        return run, (NetworkError,)

    return begin


def _kept_by_openvino() -> tuple[Run, tuple[type[Exception], ...]]:
    """What ``--cache`` keeps, damaged: OpenVINO believes its own files."""
    from attention_dmfnet.model.network import NetworkError

    def run(path: Path, folder: Path) -> list[str]:
        kept = folder / "kept"
        _compute(CORPUS / "network", "openvino", kept)
        damage = path.read_bytes()
        for blob in kept.rglob("*.blob") if damage else ():
            blob.write_bytes(mutations.scrambled(Random(damage), blob.read_bytes(), [b"\0" * 4096]))
        _compute(CORPUS / "network", "openvino", kept)
        return []

    return run, (NetworkError,)


def _simplified_graph() -> tuple[Run, tuple[type[Exception], ...]]:
    """What ``openvino_graphs`` keeps beside the models, damaged, with the right hash in its index."""
    import msgspec
    from attention_dmfnet.model import openvino_graphs
    from attention_dmfnet.model.external_data import read_model
    from attention_dmfnet.model.network import NetworkError
    from attention_dmfnet.model.openvino_core import half

    stage = _stage_of(CORPUS / "network")
    content = openvino_graphs._simplified(read_model(CORPUS / "network", stage, stage.variants[0]))
    weights_begin = len(content) - (CORPUS / "network" / "weights.safetensors").stat().st_size

    def run(path: Path, folder: Path) -> list[str]:
        damage = path.read_bytes()
        rng = Random(damage)
        made = content
        if damage:
            # mostly its graph, which is text, and not the numbers behind it
            graph, weights = content[:weights_begin], content[weights_begin:]
            made = (mutations.lines if rng.random() < 0.5 else mutations.scrambled)(rng, graph, []) + weights
        models = folder / "models"
        shutil.copytree(CORPUS / "network", models)
        place = openvino_graphs._path(models / openvino_graphs.FOLDER, stage.variants[0])
        place.parent.mkdir()
        place.write_bytes(made)
        kept = openvino_graphs.Kept(
            openvino_graphs._made_from(stage, stage.variants[0]), hashlib.sha256(made).hexdigest()
        )
        index = openvino_graphs.Index(half.get_version(), {"graph.onnx": kept})
        place.with_name("index.json").write_bytes(msgspec.json.encode(index))
        _compute(models, "openvino")
        return []

    return run, (NetworkError,)


def _stage_of(folder: Path) -> Stage:
    """A stage whose network is ``graph.onnx`` in ``folder``, with the hashes that its files have."""
    from attention_dmfnet.model.manifest import NetworkInput, NetworkOutput, Stage, Variant, WeightsFile

    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.is_file()}
    return Stage(
        (Variant("graph.onnx", hashes["graph.onnx"], "float32", None),),
        NetworkInput("image", "float32", "NCDHW"),
        NetworkOutput("scores", NETWORK_CLASSES),
        (3.0, 2.0, 2.0),
        NETWORK_TILE_ZYX,
        0.25,
        (-200.0, 600.0),
        0.0,
        100.0,
        weights=WeightsFile("weights.safetensors", hashes["weights.safetensors"]),
    )


def _compute(folder: Path, backend: Literal["openvino", "onnxruntime"], cache: Path | None = None) -> None:
    """Load the network in ``folder`` and let it see one tile."""
    from attention_dmfnet.model.loading import load_network
    from attention_dmfnet.model.runtimes import Runtime

    runtime = Runtime(backend, "cpu", threads=1, precision="float32", cache=cache)
    network = load_network(folder, _stage_of(folder), runtime)
    scores = network(np.ones(NETWORK_TILE_ZYX, np.float32))
    assert scores.shape == (NETWORK_CLASSES, *NETWORK_TILE_ZYX)


# ---- training --------------------------------------------------------------------------------------------------------


def _layout() -> tuple[Run, tuple[type[Exception], ...]]:
    from training.data.layouts import read_layout
    from training.errors import TrainingError

    def run(path: Path, folder: Path) -> list[str]:
        found = read_layout(folder)
        return [*map(str, found.problems), *found.notes]

    return run, (TrainingError,)


def _prepared() -> tuple[Run, tuple[type[Exception], ...]]:
    from training.data.dataset import open_dataset
    from training.errors import TrainingError

    def run(path: Path, folder: Path) -> list[str]:
        dataset = open_dataset(folder, "coarse")
        dataset.split(0)
        for case in dataset.cases:
            for places in case.class_locations.values():
                case.read_patch((int(places[0, 0]) - 2, -1, 0), (8, 8, 8))
            case.read_whole()
        return []

    return run, (TrainingError,)


def _recipe() -> tuple[Run, tuple[type[Exception], ...]]:
    from training.errors import TrainingError
    from training.recipe import load_recipe

    def run(path: Path, folder: Path) -> list[str]:
        load_recipe(path)
        return []

    return run, (TrainingError,)


def _pseudo() -> tuple[Run, tuple[type[Exception], ...]]:
    from training.data.pseudo_folder import read_pseudo
    from training.errors import TrainingError

    def run(path: Path, folder: Path) -> list[str]:
        read_pseudo(folder)
        return []

    return run, (TrainingError,)


def _run_folder() -> tuple[Run, tuple[type[Exception], ...]]:
    import torch

    from training.errors import TrainingError
    from training.learning.checkpoint import load_checkpoint, load_weights

    def run(path: Path, folder: Path) -> list[str]:
        network, averaged = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
        optimiser = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
        if path.name.startswith("weights"):
            load_weights(network, path)
        else:
            load_checkpoint(folder, network, averaged, optimiser, {"bodies": "0"})
        return []

    return run, (TrainingError,)


TARGETS: dict[str, Target] = {
    "nifti": Target("nifti", _scan, mutations.nifti),
    "nifti-gz": Target("nifti-gz", _scan, mutations.nifti_gz),
    "nrrd": Target("nrrd", _scan, mutations.lines),
    "mha": Target("mha", _scan, mutations.lines),
    "manifest": Target("manifest", _manifest),
    "graph": Target("graph", _graph),
    "network-openvino": Target("network", _network_in("openvino")),
    "network-onnxruntime": Target("network", _network_in("onnxruntime")),
    "network-kept": Target("damage", _kept_by_openvino, mutations.number_alone),
    "network-simplified": Target("damage", _simplified_graph, mutations.number_alone),
    "flare22": Target("flare22", _layout),
    "nnunet": Target("nnunet", _layout),
    "prepared": Target("prepared", _prepared),
    "recipe": Target("recipe", _recipe),
    "pseudo": Target("pseudo", _pseudo),
    "run-folder": Target("run-folder", _run_folder),
}
"""By name; each runs in a process of its own."""


def faults_said(said: list[str]) -> list[str]:
    """What is wrong with sentences that a user would read."""
    faults: list[Any] = []
    for text in said:
        if not text.strip():
            faults.append("an empty sentence")
        if "\n" in text:
            faults.append(f"more than one line: {text[:200]!r}")
        if len(text) > 3000:
            faults.append(f"{len(text)} letters: {text[:200]!r}")
        if "not enough memory" in text:
            faults.append(f"asks for memory that the file is not worth: {text[:200]!r}")
    return faults
