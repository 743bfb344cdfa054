"""A network's weights, stored once: half precision in a safetensors file that graphs, training and export share.

Rounding happens here and nowhere else. What computes in float32 afterwards starts from the same half-precision numbers
wherever it is, and they are exact in float32.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import onnx
import safetensors.torch
import torch
from attention_dmfnet.model.external_data import with_weights
from onnx import TensorProto, helper, numpy_helper

from export.errors import ExportError

if TYPE_CHECKING:
    from torch import nn

HALF_BITS = 11
"""Significant bits of half precision, the leading one that is not stored included."""

_MOST_OWN_NUMBERS = 64
"""What a graph may hold itself in one constant: scales of a Resize, a branch's factor, but no convolution's weights."""


def half_precision(network: nn.Module, significant_bits: int = HALF_BITS) -> bytes:
    """The network's floating-point weights and statistics, rounded to half precision, as a safetensors file.

    With fewer ``significant_bits`` than the 11 of half precision the file compresses better: convolutions are rounded
    to so many, statistics and scales never. Counters are left out: only training needs them. Raises ``ExportError`` if
    a number is beyond half precision.
    """
    rounded = {}
    for name, tensor in network.state_dict().items():
        if not tensor.is_floating_point():
            continue
        half = tensor.detach().cpu().half().contiguous()
        rounded[name] = _coarser(half, HALF_BITS - significant_bits) if tensor.ndim > 1 else half
        if not torch.isfinite(rounded[name]).all():
            raise ExportError(f"{name} holds {tensor.abs().max():.3g}, and half precision ends at 65504")
    return safetensors.torch.save(rounded)


def _coarser(half: torch.Tensor, fewer: int) -> torch.Tensor:
    """``half`` rounded to the nearest number whose last ``fewer`` bits are zero, to even if there are two."""
    if not fewer:
        return half
    bits = half.view(torch.int16).to(torch.int32)  # of the magnitude; the sign is the highest bit and keeps its place
    bits = bits + (1 << (fewer - 1)) - 1 + ((bits >> fewer) & 1)
    return (bits >> fewer << fewer).to(torch.int16).view(torch.float16)


def refer_to_weights(model: onnx.ModelProto, weights: bytes, file: str) -> onnx.ModelProto:
    """A copy of ``model`` that holds no weights, but refers to their places in ``weights``, the content of ``file``.

    Where the model computes in float32, a Cast follows each of them. Raises ``ExportError`` if a weight of the model
    differs from the file's, or is not in it.
    """
    places, stored = _places(weights), safetensors.torch.load(weights)
    referring = onnx.ModelProto()
    referring.CopyFrom(model)
    graph = referring.graph
    casts, renamed = [], {}
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        name = tensor.name.removeprefix("network.")
        if name not in stored:
            if values.size > _MOST_OWN_NUMBERS:
                raise ExportError(f"the exported network computes with {tensor.name}, which is none of its weights")
            continue
        if not np.array_equal(values, stored[name].numpy().astype(values.dtype)):
            raise ExportError(f"{name} of the exported network is not that of {file}")
        renamed[tensor.name] = name
        if tensor.data_type == TensorProto.FLOAT:
            renamed[tensor.name] = f"{name}_float32"
            casts.append(helper.make_node("Cast", [name], [f"{name}_float32"], f"Cast_{name}", to=TensorProto.FLOAT))
        tensor.CopyFrom(_reference(name, list(tensor.dims), file, *places[name]))
    _rename_inputs(graph, renamed)
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    whole = with_weights(referring.SerializeToString(), "the graph", weights, file)
    onnx.checker.check_model(onnx.load_model_from_string(whole), full_check=True)
    return referring


def standalone(graph: bytes, file: str, weights: bytes, weights_file: str) -> bytes:
    """A model with its weights inside, in the precision that it computes in, for TensorRT.

    Its builder crashes where a convolution's weights come out of a Cast.
    """
    model = onnx.load_model_from_string(with_weights(graph, file, weights, weights_file))
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    kept = []
    for node in model.graph.node:
        if node.op_type == "Cast" and node.input[0] in constants:
            tensor = constants[node.input[0]]
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), node.output[0]))
        else:
            kept.append(node)
    del model.graph.node[:]
    model.graph.node.extend(kept)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _places(weights: bytes) -> dict[str, tuple[int, int]]:
    """Offset and length of each tensor in a safetensors file: eight bytes, a header of so many bytes, the data."""
    (header_length,) = struct.unpack_from("<Q", weights)
    start = 8 + header_length
    header = json.loads(weights[8:start])
    header.pop("__metadata__", None)
    return {
        name: (start + entry["data_offsets"][0], np.diff(entry["data_offsets"]).item())
        for name, entry in header.items()
    }


def _reference(name: str, dims: list[int], file: str, offset: int, length: int) -> TensorProto:
    tensor = TensorProto(name=name, dims=dims, data_type=TensorProto.FLOAT16, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", file), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def _rename_inputs(graph: onnx.GraphProto, renamed: Mapping[str, str]) -> None:
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = renamed.get(name, name)
