"""The seam to the runtimes: a network takes a tile and returns scores, whoever computes them."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from attention_dmfnet.model.manifest import Stage, Variant, WeightsFile

Tile = npt.NDArray[np.float32]
"""(z, y, x) normalised intensities, C-contiguous, of the stage's ``tile_zyx`` or fitted by its ``tile_multiple``."""

Scores = npt.NDArray[np.float32]
"""(class, z, y, x) class scores before softmax; with the stage's output stride, of fewer voxels than the tile."""

Content = bytes | npt.NDArray[np.uint8]
"""A network as a runtime loads it: an ONNX model, a plan, or what ``openvino_graphs`` keeps (the array)."""

MOST_TILE_VOXELS = 1_500_000
"""Of a fitted tile: at some 280 bytes of activations a voxel (Attention DMFNet, OpenVINO, float32) 420 MB."""


class NetworkError(Exception):
    """A network that does not compute; the sentence says why, and what to do."""


class LoadError(NetworkError):
    """A network or a runtime that cannot be used here: no case is worth trying with it."""


class RunError(NetworkError):
    """A runtime that failed on this case; the next one may succeed."""


class Network(Protocol):
    """A network ready to run."""

    def __call__(self, tile: Tile) -> Scores:
        """The scores of a tile, valid until the next call, which may overwrite them. Raises ``RunError``."""
        ...


def read_model_file(models: Path, named: Variant | WeightsFile) -> bytes:
    """The content of a file that the manifest names.

    Raises ``LoadError`` if it is not the file that the manifest was written for: checked here and handed on as
    bytes, so that nothing can change in between.
    """
    path = models / named.file
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise LoadError(f"the manifest names {path}, which is not there; fetch the models again") from None
    except OSError as error:
        raise LoadError(f"cannot read {path}: {error.strerror}") from error
    if hashlib.sha256(content).hexdigest() != named.sha256:
        raise LoadError(
            f"{path} is not the file that the manifest was written for (its sha256 differs): "
            "it was swapped, changed or cut short; fetch the models again"
        )
    return content


def check_contract(
    file: str, stage: Stage, inputs: Mapping[str, Sequence[object]], outputs: Mapping[str, Sequence[object]]
) -> None:
    """Compare a loaded network's tensors, given as name -> shape, with what the manifest says.

    Sides that the network leaves open fit anything; those of fitted tiles have to be.
    Raises ``LoadError``.
    """
    fixed = stage.tile_multiple is None
    expected_in = (1, 1, *(stage.tile_zyx if fixed else "zyx"))
    expected_out = (1, stage.output.classes, *(stage.scores_tile_zyx if fixed else "zyx"))
    for found, name, expected in (
        (inputs, stage.input.name, expected_in),
        (outputs, stage.output.name, expected_out),
    ):
        shape = found.get(name)
        if shape is None:
            raise LoadError(f"{file} has no tensor named {name!r}, only {', '.join(found)}; export it again")
        # an open side is a name, nothing, or -1
        wrong = (isinstance(n, int) and n >= 0 and n != m for n, m in zip(shape, expected, strict=False))
        if len(shape) != 5 or any(wrong):
            raise LoadError(
                f"{file}: {name!r} has the shape {tuple(shape)}, the manifest says {expected}; export it again"
            )
