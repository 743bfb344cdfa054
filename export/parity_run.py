"""The parity test from the folder of models to the folder with figures."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from attention_dmfnet.cpus import available_cpus
from attention_dmfnet.files.cases import case_name, list_cases

from evaluation.cost.machine import describe_machine
from export.contenders import Contender, TorchNetwork, load_contenders, reference_in_onnxruntime
from export.errors import ExportError
from export.gate import Verdict, judge, pass_gate
from export.parity import Original, compare
from export.parity_table import parity_table
from export.publish import CARD_NAME, publish, read_release
from export.release import Release
from training.learning.checkpoint import load_trained, recipe_path

if TYPE_CHECKING:
    from attention_dmfnet.model.manifest import Manifest
    from attention_dmfnet.model.network import Network

    from export.parity import StageName

_DISTRIBUTIONS = {"openvino": "openvino", "onnxruntime": "onnxruntime", "tensorrt": "tensorrt-cu13"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was measured, and the release that may be published: the same models, less what was refused."""

    models: Path
    verdicts: Sequence[Verdict]
    release: Release
    table: str

    def publish(self) -> None:
        """Replace the folder of models by the release, keeping its card."""
        card = self.models / CARD_NAME
        publish(self.release, self.models, card if card.exists() else None)


def run_parity(models: Path, scans: Sequence[Path], repeats: int = 1) -> Outcome:
    """Compare every variant of ``models`` with the original on ``scans`` (files and folders) and hold the gate.

    The original is the network in torch, with the weights of ``models``, where their recipes lie beside them, otherwise
    the float32 variant in ONNX Runtime. Raises ``ExportError`` if full precision does not pass, ``InputError`` if there
    is no scan.
    """
    cases = [case for path in scans for case in list_cases(path)]
    # as many as the other runtimes get, or the seconds would not be comparable
    torch.set_num_threads(available_cpus())
    release = read_release(models)
    trained = _original(models, release)
    original = trained or _stand_in(models, release.manifest)
    contenders: dict[StageName, list[Contender]] = {
        "coarse": load_contenders(models, release.manifest.coarse),
        "fine": load_contenders(models, release.manifest.fine),
    }
    measured_on = f"{len(cases)} scan{'s' * (len(cases) > 1)}: {', '.join(map(case_name, cases))}"
    machine = describe_machine()
    verdicts = [
        judge(stage, one.contender.variant, one.parity(f"{machine}; {_version(one.contender)}", measured_on))
        for stage, own in compare(original, contenders, cases, repeats).items()
        for one in own
    ]
    if not verdicts:
        raise ExportError(f"none of the variants in {models} can be computed here; install a runtime first")
    reference = f"PyTorch {torch.__version__.partition('+')[0]}, float32" if trained else "ONNX Runtime, float32"
    return Outcome(models, verdicts, pass_gate(release, verdicts), parity_table(verdicts, reference))


def _original(models: Path, release: Release) -> Original | None:
    """Both networks as they were trained, None if the recipes to build them by are not there."""
    manifest = release.manifest
    networks: list[Network] = []
    for stage in (manifest.coarse, manifest.fine):
        if stage.weights is None or recipe_path(models / stage.weights.file).name not in release.recipes:
            return None
        networks.append(TorchNetwork(load_trained(models / stage.weights.file).network, stage.output.stride))
    return Original(manifest, *networks)


def _stand_in(models: Path, manifest: Manifest) -> Original:
    return Original(manifest, *(reference_in_onnxruntime(models, stage) for stage in (manifest.coarse, manifest.fine)))


def _version(contender: Contender) -> str:
    backend = contender.runtime.backend
    names = [_DISTRIBUTIONS[backend], f"{backend}-gpu"]
    for name in names:
        try:
            return f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return backend
