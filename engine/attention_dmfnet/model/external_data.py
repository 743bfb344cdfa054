"""An ONNX graph and the file of weights that it refers to, put together in memory.

On disk a graph holds no weights: each of its initialisers names a place in a safetensors file (ONNX external data), so
that all variants of a network share one file. Left to themselves the runtimes would open that file on their own, after
it was checked; OpenVINO cannot be handed it otherwise. So the bytes that were checked are written into the graph's
initialisers here, and every runtime gets a model that is whole. Source of the layout: ``onnx.proto`` and the encoding
of protocol buffers, in which a message is a sequence of (number and type, content).
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from attention_dmfnet.model.manifest import Stage, Variant
from attention_dmfnet.model.network import LoadError, read_model_file

# the numbers of the fields in onnx.proto
_MODEL_GRAPH, _MODEL_OPSET, _OPSET_VERSION, _GRAPH_INITIALIZER = 7, 8, 2, 5
_TENSOR_RAW_DATA, _TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION = 9, 13, 14
_ENTRY_KEY, _ENTRY_VALUE = 1, 2

_VARINT, _EIGHT_BYTES, _DELIMITED, _FOUR_BYTES = 0, 1, 2, 5

_NEWEST_OPSET = 1000
"""ONNX counts its sets of operators; in ten years it has come to 26."""

_Field = tuple[int, bytes, bytes]
"""Number, content, and the whole field as it was encoded."""


def read_model(models: Path, stage: Stage, variant: Variant) -> bytes:
    """A variant of ``stage`` as a model that is whole. Raises ``LoadError`` as ``read_model_file`` does."""
    model = read_model_file(models, variant)
    if variant.plan is not None:
        return model
    if stage.weights is None:
        _refuse_future_operators(model, variant.file)
        return model
    return with_weights(model, variant.file, read_model_file(models, stage.weights), stage.weights.file)


def with_weights(graph: bytes, file: str, weights: bytes, weights_file: str) -> bytes:
    """The ONNX model ``graph``, the content of ``file``, with the numbers that it refers to in ``weights``.

    ``weights_file`` is the only file that it may refer to. Raises ``LoadError`` if it refers to another one or to a
    place outside of it, or is no ONNX model.
    """
    _refuse_future_operators(graph, file)
    parts: list[bytes | memoryview] = []
    try:
        for number, content, whole in _fields(graph):
            if number == _MODEL_GRAPH:
                parts += _delimited(number, _graph_parts(content, file, memoryview(weights), weights_file))
            else:
                parts.append(whole)
    except (IndexError, KeyError, ValueError) as error:
        raise LoadError(f"{file} is no ONNX model ({error}); export it again") from error
    return b"".join(parts)


def _refuse_future_operators(model: bytes, file: str) -> None:
    """OpenVINO counts up to the version that a graph states, if need be to 2^63."""
    # what is no ONNX model is told by who reads all of it
    with contextlib.suppress(IndexError, ValueError):
        for opset in (content for number, content, _ in _fields(model) if number == _MODEL_OPSET):
            for number, content, _ in _fields(opset):
                version = _read_varint(content, 0)[0] if number == _OPSET_VERSION and content else 0
                if version > _NEWEST_OPSET:
                    raise LoadError(
                        f"{file} wants version {version} of ONNX's operators, which there is not; export it again"
                    )


def _graph_parts(graph: bytes, file: str, weights: memoryview, weights_file: str) -> list[bytes | memoryview]:
    parts: list[bytes | memoryview] = []
    for number, content, whole in _fields(graph):
        if number == _GRAPH_INITIALIZER:
            parts += _initializer_parts(content, whole, file, weights, weights_file)
        else:
            parts.append(whole)
    return parts


def _initializer_parts(
    tensor: bytes, whole: bytes, file: str, weights: memoryview, weights_file: str
) -> list[bytes | memoryview]:
    kept: list[bytes | memoryview] = []
    place: dict[str, str] = {}
    for number, content, field in _fields(tensor):
        if number == _TENSOR_EXTERNAL_DATA:
            entry = {key: value.decode() for key, value, _ in _fields(content)}
            place[entry[_ENTRY_KEY]] = entry[_ENTRY_VALUE]
        elif number != _TENSOR_DATA_LOCATION:
            kept.append(field)
    if not place:
        return [whole]
    if place["location"] != weights_file:
        raise LoadError(f"{file} refers to {place['location']!r}, the manifest to {weights_file}; export it again")
    start, length = int(place["offset"]), int(place["length"])
    if not 0 <= start <= start + length <= len(weights):
        raise LoadError(f"{file} refers to bytes beyond the end of {weights_file}; export it again")
    return _delimited(_GRAPH_INITIALIZER, [*kept, *_delimited(_TENSOR_RAW_DATA, [weights[start : start + length]])])


def _fields(message: bytes) -> Iterator[_Field]:
    """The fields of a message. Raises ``IndexError`` or ``ValueError`` if it is none."""
    at, end = 0, len(message)
    while at < end:
        start = at
        key, at = _read_varint(message, at) if message[at] >= 0x80 else (message[at], at + 1)
        number, kind, content_at = key >> 3, key & 7, at
        if kind == _DELIMITED:
            length, content_at = _read_varint(message, at)
            at = content_at + length
        elif kind == _VARINT:
            _, at = _read_varint(message, at)
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            at += 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"a field of type {kind}")
        if at > end:
            raise ValueError("cut short")
        yield number, message[content_at:at], message[start:at]


def _delimited(number: int, parts: list[bytes | memoryview]) -> list[bytes | memoryview]:
    """A field with ``parts`` as its content, not joined yet: weights are copied once, at the end."""
    return [_varint(number << 3 | _DELIMITED) + _varint(sum(map(len, parts))), *parts]


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    """Seven bits a byte, the lowest first; the highest bit tells that more follow. Returns the number and its end."""
    number = shift = 0
    while True:
        byte = message[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
