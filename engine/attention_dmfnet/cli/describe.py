"""``attention-dmfnet describe``: what this program takes and gives, for people and for programs that run it.

In the container ``docker run IMAGE describe`` says it.
"""

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from attention_dmfnet.cli.parser import examples
from attention_dmfnet.cli.predict_options import add_models_option
from attention_dmfnet.cli.progress import say
from attention_dmfnet.cli.status import DONE, refuse
from attention_dmfnet.files.cases import printable

if TYPE_CHECKING:
    from attention_dmfnet.cli.contract import Contract


def add_options(command: argparse.ArgumentParser) -> None:
    """See ``commands.CommandModule``."""
    command.description = (
        "Say what this program takes and gives: inputs, outputs, labels, memory by voxels as it was measured, version "
        "and the hashes of its models. No network is loaded."
    )
    command.epilog = examples(
        ("for people", "attention-dmfnet describe"),
        ("for a program", "attention-dmfnet describe --json"),
    )
    add_models_option(command.add_argument_group("networks"))
    group = command.add_argument_group("reporting")
    group.add_argument("--json", action="store_true", help="one JSON object on standard output")


def run(options: argparse.Namespace) -> int:
    """See ``commands.CommandModule``."""
    import msgspec

    from attention_dmfnet.cli.contract import contract_of
    from attention_dmfnet.model.manifest import ManifestError

    try:
        contract = contract_of(options.models)
    except ManifestError as error:
        return refuse(str(error))
    if options.json:
        say(msgspec.json.encode(contract).decode(), sys.stdout)
    else:
        for line in _lines(contract):
            say(printable(line), sys.stdout)
    return DONE


def _lines(contract: "Contract") -> Iterator[str]:
    inputs, outputs = contract.inputs, contract.outputs
    yield f"{contract.name} {contract.version}, models of release {contract.release}"
    yield contract.summary
    yield f"command  {contract.command}; in the container: sh predict.sh"
    yield f"inputs   {inputs.what} ({' '.join(inputs.formats)}): {inputs.voxels}"
    if inputs.dicom:
        yield "         DICOM too: folders, trees of folders, .zip, enhanced files"
    yield f"         in the container: {inputs.in_container}"
    yield f"outputs  {outputs.what}: {outputs.voxels}"
    yield f"         in the container: {outputs.in_container}"
    yield "labels   " + ", ".join(f"{number} {organ}" for organ, number in contract.labels.items())
    for status, meaning in contract.exit_statuses.items():
        yield f"status   {status:3} {meaning}"
    for voxels, mib in contract.memory_mib.items():
        yield f"memory   a scan of {voxels} voxels took {mib} MiB on the CPU"
    yield "needs    neither a network connection nor a GPU"
    for network in contract.networks:
        for file, sha256 in network.files.items():
            yield f"{network.stage:8} {file} sha256 {sha256}"
