"""A trained network as an ONNX file of a fixed tile shape: the same bytes for the same weights, wherever it is made.

Fixed shapes are the fast path of every runtime. Preparing the scan and returning to its grid stay outside of the
graph: they depend on the scan's size, and the engine does them slice by slice without a tensor of all classes.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import onnx
import onnx_ir
import onnx_ir.passes.common as passes
import onnxscript.optimizer
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from export.errors import ExportError
from export.tidy import tidy
from training.network.attention_dmfnet import TILE_MULTIPLE, AttentionDMFNet, use_cpu_kernels

if TYPE_CHECKING:
    from attention_dmfnet.geometry import Index

INPUT, OUTPUT = "image", "scores"
OPSET = 20
"""The newest that OpenVINO, ONNX Runtime and TensorRT all read."""

HalfOrFull = Literal["float32", "float16"]


class HalfInside(nn.Module):
    """The halved network between two casts: single precision goes in and comes out, half is all there is inside."""

    def __init__(self, network: AttentionDMFNet) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).half()

    def forward(self, image: Tensor) -> Tensor:
        scores: Tensor = self.network(image.half())
        return scores.float()


def to_onnx(
    network: AttentionDMFNet, tile_zyx: Index, precision: HalfOrFull, metadata: Mapping[str, str], fitted: bool = False
) -> onnx.ModelProto:
    """The network for tiles (1, 1, z, y, x) of ``tile_zyx`` voxels, with ``metadata`` inside.

    ``fitted``: for tiles of any sides that the network takes, with scores of half the resolution.

    ``precision`` is that of the weights and of all that is computed; what goes in and comes out is float32 either
    way. Raises ``ExportError`` if the tile does not suit the network or the ONNX checker objects.
    """
    if any(size < 1 or size % TILE_MULTIPLE for size in tile_zyx):
        raise ExportError(f"tiles of {tile_zyx} voxels do not fit: each side must be a multiple of {TILE_MULTIPLE}")
    network = copy.deepcopy(network)
    use_cpu_kernels(network, False)
    if fitted:
        # without the last interpolation: the engine restores labels from what comes before it
        network.forward = network.half_scores  # type: ignore[assignment, method-assign]
    wrapped: nn.Module = HalfInside(network) if precision == "float16" else network
    # on the outermost module: BatchNorm must use its stored statistics
    wrapped.eval()
    with _without_known_warnings():
        program = torch.onnx.export(
            wrapped,
            (torch.zeros(1, 1, *tile_zyx),),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            verbose=False,
            # its optimiser would fold norms into convolutions: the graph is to refer to the weights as they are stored
            optimize=False,
        )
    assert program is not None
    _fold_shapes(program.model)
    model = tidy(program.model_proto, {**metadata, "precision": precision})
    _drop_zero_biases(model.graph)
    if fitted:
        _open_sides(model)
    try:
        onnx.checker.check_model(model, full_check=True)
    except onnx.checker.ValidationError as error:
        raise ExportError(f"the ONNX checker refuses the exported network: {error}") from error
    return model


def _fold_shapes(model: onnx_ir.Model) -> None:
    """Compute what depends on shapes and constants alone, and drop what is then left over."""
    onnxscript.optimizer.fold_constants(model)
    onnx_ir.passes.Sequential(
        passes.RemoveUnusedNodesPass(),
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.RemoveUnusedNodesPass(),
    )(model)


def _drop_zero_biases(graph: onnx.GraphProto) -> None:
    """Drop the biases of zeros, of a shape that no runtime takes, that the exporter gives convolutions without any."""
    zeros = {
        tensor.name for tensor in graph.initializer if len(tensor.dims) == 2 and not numpy_helper.to_array(tensor).any()
    }
    for node in graph.node:
        if node.op_type == "Conv" and len(node.input) == 3 and node.input[2] in zeros:
            del node.input[2]
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _open_sides(model: onnx.ModelProto) -> None:
    """Leave z, y and x of the input and the output open: nothing inside the network depends on them."""
    for tensor, prefix in ((model.graph.input[0], ""), (model.graph.output[0], "half_")):
        for side, name in zip(tensor.type.tensor_type.shape.dim[2:], "zyx", strict=True):
            side.dim_param = f"{prefix}{name}"


@contextmanager
def _without_known_warnings() -> Iterator[None]:
    """Silence the exporter about a deprecation inside torch and the operators of a package that is not used here."""
    log = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r".*LeafSpec.*", category=FutureWarning)
            yield
    finally:
        log.setLevel(level)
