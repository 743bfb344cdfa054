"""What this program promises to whoever runs it, from the places that hold it."""

from importlib.util import find_spec
from pathlib import Path
from typing import Final

import msgspec

from attention_dmfnet import __version__
from attention_dmfnet.cli.machine import MEASURED_MIB
from attention_dmfnet.files.cases import EXTENSIONS
from attention_dmfnet.model.loading import default_models
from attention_dmfnet.model.manifest import Manifest, load_manifest

SUMMARY: Final = "Thirteen abdominal organs from a CT. Research only, not for clinical use."


class Inputs(msgspec.Struct, frozen=True):
    """What goes in, DICOM where its package is installed; ``in_container`` is where the container takes it from."""

    what: str = "a folder of CT scans, or one scan"
    formats: tuple[str, ...] = EXTENSIONS
    dicom: bool = False
    voxels: str = "one three-dimensional volume of HU, of any axes and spacing"
    in_container: str = "/workspace/inputs"


class Outputs(msgspec.Struct, frozen=True):
    """What comes out; ``in_container`` is where the container puts it."""

    what: str = "a label map NAME.nii.gz for each scan NAME_0000 or NAME"
    voxels: str = "uint8, on exactly the scan's size, spacing, origin and direction"
    in_container: str = "/workspace/outputs"


class Network(msgspec.Struct, frozen=True):
    """A stage's files with their hashes."""

    stage: str
    spacing_zyx: tuple[float, float, float]
    files: dict[str, str]


class Contract(msgspec.Struct, frozen=True):
    """All of it. ``labels`` maps organs to numbers, ``memory_mib`` a scan's voxels to the peak that was measured."""

    schema_version: int
    name: str
    version: str
    summary: str
    command: str
    inputs: Inputs
    outputs: Outputs
    labels: dict[str, int]
    exit_statuses: dict[str, str]
    memory_mib: dict[str, int]
    needs_network: bool
    needs_gpu: bool
    release: str
    networks: list[Network]


def contract_of(models: Path | None = None) -> Contract:
    """The contract with the models in a folder, this release's if None. Raises ``ManifestError``."""
    manifest = load_manifest(default_models() if models is None else models)
    return Contract(
        1,
        "attention-dmfnet",
        __version__,
        SUMMARY,
        "attention-dmfnet predict INPUTS OUTPUTS",
        Inputs(dicom=find_spec("pydicom") is not None),
        Outputs(),
        {"background": 0, **manifest.labels},
        {
            "0": "every case is done, or was already",
            "1": "some failed: they are listed, the others are there",
            "2": "nothing could be tried",
            "130": "interrupted; the label maps that are there are complete",
        },
        dict(MEASURED_MIB),
        False,
        False,
        manifest.release,
        _networks(manifest),
    )


def _networks(manifest: Manifest) -> list[Network]:
    found = []
    for name, stage in (("coarse", manifest.coarse), ("fine", manifest.fine)):
        files = {variant.file: variant.sha256 for variant in stage.variants}
        if stage.weights is not None:
            files[stage.weights.file] = stage.weights.sha256
        found.append(Network(name, stage.spacing_zyx, files))
    return found
