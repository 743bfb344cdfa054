"""``models/manifest.json``: all that travels from training to the engine, typed and checked.

The structures below are the schema: an unknown, missing or mistyped field is an error, with its place in the file.
"""

import hashlib
import math
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from attention_dmfnet.json_text import JsonError, decode_json

MANIFEST_NAME = "manifest.json"
SCHEMA_VERSION: Final = 2

Positive = Annotated[float, msgspec.Meta(gt=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Name = Annotated[str, msgspec.Meta(min_length=1)]
FileName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
ComputeCapability = Annotated[str, msgspec.Meta(pattern=r"^[0-9]+\.[0-9]+$")]
Voxels = Annotated[int, msgspec.Meta(ge=1)]

Precision = Literal["float32", "bfloat16", "float16"]
BackendName = Literal["openvino", "onnxruntime", "tensorrt"]
DeviceName = Literal["cpu", "cuda"]


class ManifestError(Exception):
    """A manifest that is missing, malformed or contradicts itself."""


class KeepLargest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="keep", tag="largest"):
    """Keep an organ's largest component; drop the organ if less than ``min_volume_ml`` is left."""

    min_volume_ml: NotNegative = 0.0


class KeepHighest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="keep", tag="highest"):
    """Of the components of at least ``min_fraction`` of the largest one's volume keep that whose centre is nearest to
    the head and those that lie side by side with it, then as above: an organ below the diaphragm, perhaps in two
    lobes, and a mass further down that is taken for it.
    """

    min_fraction: Share
    min_volume_ml: NotNegative = 0.0


class KeepParts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="keep", tag="parts"):
    """Keep the components of at least ``min_fraction`` of the largest one's volume, then as above."""

    min_fraction: Share
    min_volume_ml: NotNegative = 0.0


class KeepAll(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="keep", tag="all"):
    """Keep every component, then as above."""

    min_volume_ml: NotNegative = 0.0


ComponentRule = KeepLargest | KeepHighest | KeepParts | KeepAll


class SeenTogether(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing stays of ``organs`` in a scan that shows less than ``min_volume_ml`` of all ``beside`` together.

    They lie so that no scan shows them without some of those: what is taken for them there is something else.
    """

    organs: Annotated[tuple[Name, ...], msgspec.Meta(min_length=1)]
    beside: Annotated[tuple[Name, ...], msgspec.Meta(min_length=1)]
    min_volume_ml: NotNegative


class Parity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A runtime in which a variant passed the parity test, and its median seconds for a tile there.

    The seconds compare variants on the machine of the test. All that was measured lies beside the manifest, in
    ``measured.json``.
    """

    backend: BackendName
    device: DeviceName
    seconds_per_tile: Positive


class WeightsFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The safetensors file that a network's ONNX graphs refer to, with their weights in half precision."""

    file: FileName
    sha256: Sha256


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a TensorRT plan is tied to, and what it was made from.

    ``runtime`` is the Python module that made it and can load it, in exactly ``version``. ``compatibility`` tells
    which other GPUs than ``gpu`` can run it. The variant with ``onnx_sha256`` is what it replaces, and the fallback.
    """

    runtime: Literal["tensorrt", "tensorrt_rtx"]
    version: Name
    gpu: Name
    compute_capability: ComputeCapability
    compatibility: Literal["none", "same_compute_capability", "ampere_plus"]
    onnx_sha256: Sha256


class Variant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One way to compute a stage's network: a file, and the precision to compute it in.

    Variants may share a file: OpenVINO computes a float32 file in bfloat16 as well. ``parity`` holds one row for each
    runtime in which the variant passed the test of ``python -m export parity``, or is None if it was not tested.
    With ``plan`` the file is a TensorRT plan, otherwise an ONNX model, whose weights may lie in the stage's own file.
    """

    file: FileName
    sha256: Sha256
    precision: Precision
    parity: Annotated[tuple[Parity, ...], msgspec.Meta(min_length=1)] | None
    plan: Plan | None = None


class NetworkInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The tensor that goes in: (1, 1, z, y, x), normalised intensities."""

    name: Name
    dtype: Literal["float32"]
    layout: Literal["NCDHW"]


class NetworkOutput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The tensor that comes out: (1, classes, z, y, x), scores before softmax; class 0 is the background.

    ``stride`` voxels of the input along each axis share one score vector, which belongs to their middle.
    """

    name: Name
    classes: Annotated[int, msgspec.Meta(ge=2, le=255)]
    stride: Voxels = 1


class Stage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A network and how a scan is brought before it.

    The scan is resampled to ``spacing_zyx`` mm while it is clipped to ``window_hu``, normalised by ``mean_hu`` and
    ``std_hu``, and cut into tiles of ``tile_zyx`` voxels that overlap by at least ``overlap`` of a tile. With
    ``tile_multiple`` the networks take tiles of any sides that are multiples of it: then the tiles are fitted to what
    is to be covered, and ``tile_zyx`` is the least that is shown where the scan has it. ``weights`` is the file
    that all the ONNX models of the stage refer to, None if they hold their weights themselves.
    """

    variants: Annotated[tuple[Variant, ...], msgspec.Meta(min_length=1)]
    input: NetworkInput
    output: NetworkOutput
    spacing_zyx: tuple[Positive, Positive, Positive]
    tile_zyx: tuple[Voxels, Voxels, Voxels]
    overlap: Annotated[float, msgspec.Meta(ge=0, lt=1)]
    window_hu: tuple[float, float]
    mean_hu: float
    std_hu: Positive
    tile_multiple: Voxels | None = None
    weights: WeightsFile | None = None

    def __post_init__(self) -> None:
        if any(side % self.output.stride for side in (*self.tile_zyx, self.tile_multiple or 0)):
            raise ValueError(f"tiles must be multiples of the scores' stride, {self.output.stride}")
        if self.tile_multiple is not None:
            if any(side % self.tile_multiple for side in self.tile_zyx):
                raise ValueError(f"tile_zyx {list(self.tile_zyx)} must be multiples of {self.tile_multiple}")
            if any(variant.plan is not None for variant in self.variants):
                raise ValueError("a plan holds for tile_zyx alone, so tile_multiple must be null")
        if not self.window_hu[0] < self.window_hu[1]:
            raise ValueError(f"window_hu {list(self.window_hu)} must go from low to high")
        if len({(variant.file, variant.precision) for variant in self.variants}) != len(self.variants):
            raise ValueError("two variants are the same file in the same precision")
        hashes: dict[str, str] = {}
        for variant in self.variants:
            if hashes.setdefault(variant.file, variant.sha256) != variant.sha256:
                raise ValueError(f"two variants give {variant.file} different sha256")

    @property
    def scores_tile_zyx(self) -> tuple[int, int, int]:
        """The size of the scores of a tile of ``tile_zyx``."""
        z, y, x = self.tile_zyx
        stride = self.output.stride
        return (z // stride, y // stride, x // stride)

    @property
    def air(self) -> float:
        """The normalised intensity of air: what lies beyond the edge of a scan."""
        return (self.window_hu[0] - self.mean_hu) / self.std_hu


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of ``models/manifest.json``."""

    schema_version: Literal[2]
    release: Name
    labels: dict[Name, Annotated[int, msgspec.Meta(ge=1, le=254)]]
    roi_margin_mm: tuple[NotNegative, NotNegative, NotNegative]
    components: dict[Name, ComponentRule]
    coarse: Stage
    fine: Stage
    seen_together: SeenTogether | None = None

    def __post_init__(self) -> None:
        if sorted(self.labels.values()) != list(range(1, len(self.labels) + 1)):
            raise ValueError(f"labels must be numbered from 1 to {len(self.labels)} without gaps")
        if self.fine.output.classes != len(self.labels) + 1:
            raise ValueError(
                f"{len(self.labels)} labels and a background do not make {self.fine.output.classes} classes"
            )
        if self.coarse.output.classes != 2:
            raise ValueError(f"the coarse stage must have 2 classes, not {self.coarse.output.classes}")
        if not all(math.isfinite(mm) for mm in self.roi_margin_mm):
            raise ValueError("roi_margin_mm must be finite")
        if set(self.components) != set(self.labels):
            odd = ", ".join(sorted(set(self.components) ^ set(self.labels)))
            raise ValueError(f"every label needs one rule in components, and nothing else does; see {odd}")
        if self.seen_together is not None:
            named = (*self.seen_together.organs, *self.seen_together.beside)
            if len(set(named)) != len(named) or not set(named) <= set(self.labels):
                raise ValueError("seen_together must name organs of labels, and each of them once")


class _Version(msgspec.Struct):
    schema_version: int


def manifest_sha256(models: Path) -> str:
    """What tells ``models`` from other folders: the manifest holds the hashes of all files. Raises ``OSError``."""
    return hashlib.sha256((models / MANIFEST_NAME).read_bytes()).hexdigest()


def load_manifest(models: Path) -> Manifest:
    """Read ``manifest.json`` in the folder ``models``.

    Raises ``ManifestError`` if it is not there, was made for another version of the schema, or is not valid.
    """
    path = models / MANIFEST_NAME
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ManifestError(
            f"no manifest at {path}; run `python -m export` first, or name the folder with --models"
        ) from None
    except OSError as error:
        raise ManifestError(f"cannot read {path}: {error.strerror}") from error
    try:
        version = decode_json(content, _Version).schema_version
        if version != SCHEMA_VERSION:
            raise ManifestError(
                f"{path} is of schema version {version}, this engine reads version {SCHEMA_VERSION}; "
                "take the models and the engine from the same release"
            )
        return decode_json(content, Manifest)
    except JsonError as error:
        raise ManifestError(f"{path} is not valid: {error}; export it again") from error
