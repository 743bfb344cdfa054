"""The parity test from the folder of models to the folder with figures."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
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
from export.release import Release, sha256
from training.learning.checkpoint import WEIGHTS, load_trained

if TYPE_CHECKING:
    from attention_dmfnet.model.manifest import Manifest, Stage
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


def run_parity(models: Path, scans: Sequence[Path], runs: Sequence[Path] | None, repeats: int = 1) -> Outcome:
    """Compare every variant of ``models`` with the original on ``scans`` (files and folders) and hold the gate.

    ``runs`` are the two that the models were exported from. Raises ``ExportError`` if they are others, or if full
    precision does not pass; ``InputError`` if there is no scan.
    """
    cases = [case for path in scans for case in list_cases(path)]
    # as many as the other runtimes get, or the seconds would not be comparable
    torch.set_num_threads(available_cpus())
    release = read_release(models)
    original = _original(models, release, runs)
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
    reference = f"PyTorch {torch.__version__.partition('+')[0]}, float32" if runs else "ONNX Runtime, float32"
    return Outcome(models, verdicts, pass_gate(release, verdicts), parity_table(verdicts, reference))


def _original(models: Path, release: Release, runs: Sequence[Path] | None) -> Original:
    manifest = release.manifest
    if runs is None:
        coarse, fine = (reference_in_onnxruntime(models, stage) for stage in _stages(manifest))
        return Original(manifest, coarse, fine)
    networks: list[Network] = []
    for run, stage in zip(runs, _stages(manifest), strict=True):
        _check_origin(run, stage, release)
        networks.append(TorchNetwork(load_trained(run).network, stage.output.stride))
    return Original(manifest, *networks)


def _stages(manifest: Manifest) -> tuple[Stage, Stage]:
    return manifest.coarse, manifest.fine


def _check_origin(run: Path, stage: Stage, release: Release) -> None:
    """Raise ``ExportError`` if the stage's ONNX files were not made from the weights in ``run``."""
    weights = run / WEIGHTS
    if not weights.is_file():
        raise ExportError(f"no {WEIGHTS} in {run}; name the runs that the models were exported from")
    expected = sha256(weights.read_bytes())
    for variant in stage.variants:
        if variant.plan is None:
            model = onnx.load_model_from_string(release.files[variant.file])
            found = {entry.key: entry.value for entry in model.metadata_props}.get("weights_sha256")
            if found != expected:
                raise ExportError(f"{variant.file} was not made from {weights}; name the runs it was exported from")


def _version(contender: Contender) -> str:
    backend = contender.runtime.backend
    names = [_DISTRIBUTIONS[backend], f"{backend}-gpu"]
    for name in names:
        try:
            return f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return backend
