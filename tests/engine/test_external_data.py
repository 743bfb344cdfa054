"""Graphs that refer to a file of weights, and what is made of the two before a runtime sees them."""

import hashlib
import os
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
import safetensors.numpy
from attention_dmfnet.model.external_data import read_model, with_weights
from attention_dmfnet.model.loading import load_network
from attention_dmfnet.model.manifest import Stage, WeightsFile
from attention_dmfnet.model.network import NetworkError
from attention_dmfnet.model.runtimes import Runtime
from onnx import TensorProto, helper, numpy_helper

from tests.engine.tiny import stage

TILE = (8, 16, 16)
WEIGHTS = "fine.safetensors"


def _write(folder: Path, **place: int | str) -> Stage:
    """A network of one convolution, scores = 2 x and 3 x, whose weights lie in ``fine.safetensors``.

    ``place`` changes where the graph says that they are.
    """
    content = safetensors.numpy.save({"head": np.array([2, 3], np.float16).reshape(2, 1, 1, 1, 1)})
    (folder / WEIGHTS).write_bytes(content)
    tensor = TensorProto(
        name="head", dims=[2, 1, 1, 1, 1], data_type=TensorProto.FLOAT16, data_location=TensorProto.EXTERNAL
    )
    # the only tensor: the last four bytes of the file
    for key, value in {"location": WEIGHTS, "offset": len(content) - 4, "length": 4, **place}.items():
        tensor.external_data.add(key=key, value=str(value))
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["head"], ["head_float32"], to=TensorProto.FLOAT),
            helper.make_node("Conv", ["image", "head_float32"], ["scores"]),
        ],
        "one convolution",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, *TILE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 2, *TILE])],
        [tensor],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()
    (folder / "fine.onnx").write_bytes(model)
    weights = WeightsFile(WEIGHTS, hashlib.sha256(content).hexdigest())
    return msgspec.structs.replace(stage(content=model, classes=2), weights=weights)


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_network_is_computed_with_the_weights_that_its_graph_refers_to(
    tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = _write(tmp_path)
    # nor is a file of that name in the folder where the program was started
    monkeypatch.chdir(tmp_path)
    expected = read_model(tmp_path, of, of.variants[0])
    os.rename(WEIGHTS, "elsewhere")
    runtime = Runtime("openvino" if backend == "openvino" else "onnxruntime", "cpu", 1)
    with pytest.raises(NetworkError, match=r"fine\.safetensors, which is not there"):
        load_network(tmp_path, of, runtime)
    os.rename("elsewhere", WEIGHTS)
    network = load_network(tmp_path, of, runtime)
    scores = network(np.full(TILE, 5, np.float32))
    assert [np.unique(score).tolist() for score in scores] == [[10], [15]]
    # what the runtime gets refers to nothing: it cannot open a file that was changed after it was checked
    whole = onnx.load_model_from_string(expected)
    assert [(t.data_location, len(t.external_data)) for t in whole.graph.initializer] == [(TensorProto.DEFAULT, 0)]


@pytest.mark.parametrize("change", ["swapped", "cut", "changed"])
def test_refuses_weights_that_are_not_those_of_the_manifest_by_name(tmp_path: Path, change: str) -> None:
    of = _write(tmp_path)
    content = (tmp_path / WEIGHTS).read_bytes()
    one_bit = content[:-1] + bytes([content[-1] ^ 1])
    other = {"swapped": content.replace(b"head", b"tail"), "cut": content[:-1], "changed": one_bit}[change]
    (tmp_path / WEIGHTS).write_bytes(other)
    with pytest.raises(NetworkError, match=r"fine\.safetensors is not the file that the manifest was written for"):
        read_model(tmp_path, of, of.variants[0])


@pytest.mark.parametrize(
    ("place", "complaint"),
    [
        ({"location": "../other.bin"}, r"fine\.onnx refers to '\.\./other\.bin', the manifest to fine\.safetensors"),
        ({"length": 4000}, r"fine\.onnx refers to bytes beyond the end of fine\.safetensors"),
        ({"offset": -4}, r"fine\.onnx refers to bytes beyond the end"),
        ({"length": "all"}, r"fine\.onnx is no ONNX model"),
    ],
)
def test_refuses_a_graph_that_refers_to_anything_else(
    tmp_path: Path, place: dict[str, int | str], complaint: str
) -> None:
    of = _write(tmp_path, **place)
    with pytest.raises(NetworkError, match=complaint):
        read_model(tmp_path, of, of.variants[0])


@pytest.mark.parametrize("content", [b"\x3a\xff", b"\x3a\x10half", b"\x07nonsense", b"\x80"])
def test_refuses_what_is_no_graph(content: bytes) -> None:
    with pytest.raises(NetworkError, match=r"fine\.onnx is no ONNX model"):
        with_weights(content, "fine.onnx", b"", WEIGHTS)


def test_onnx_itself_reads_the_two_files_as_the_engine_does(tmp_path: Path) -> None:
    of = _write(tmp_path)
    ours = onnx.load_model_from_string(read_model(tmp_path, of, of.variants[0])).graph
    theirs = onnx.load(tmp_path / "fine.onnx").graph
    assert np.array_equal(numpy_helper.to_array(ours.initializer[0]), numpy_helper.to_array(theirs.initializer[0]))
    assert ours.node == theirs.node


def test_a_graph_that_refers_to_nothing_is_handed_on_byte_for_byte(tmp_path: Path) -> None:
    _write(tmp_path)
    whole = onnx.load(tmp_path / "fine.onnx").SerializeToString()
    assert with_weights(whole, "fine.onnx", b"", WEIGHTS) == whole


def test_operators_of_no_version_that_there_is_are_refused_before_a_runtime_counts_up_to_it(tmp_path: Path) -> None:
    """OpenVINO did so for minutes (found by fuzzing)."""
    _write(tmp_path)
    model = onnx.load_from_string((tmp_path / "fine.onnx").read_bytes())
    model.opset_import[0].version = 2**32 - 1
    with pytest.raises(NetworkError, match="wants version 4294967295 of ONNX's operators"):
        with_weights(model.SerializeToString(), "fine.onnx", (tmp_path / WEIGHTS).read_bytes(), WEIGHTS)
    assert with_weights((tmp_path / "fine.onnx").read_bytes(), "fine.onnx", (tmp_path / WEIGHTS).read_bytes(), WEIGHTS)
    # and of a model that needs no file of weights
    alone = model.SerializeToString()
    (tmp_path / "alone.onnx").write_bytes(alone)
    of = stage("alone.onnx", alone)
    with pytest.raises(NetworkError, match="wants version 4294967295 of ONNX's operators"):
        read_model(tmp_path, of, of.variants[0])


def test_a_reason_of_openvinos_that_is_no_text_is_a_sentence(tmp_path: Path) -> None:
    of = _write(tmp_path)
    model = onnx.load_from_string((tmp_path / "fine.onnx").read_bytes())
    # an operator of this name is quoted in the reason
    content = model.SerializeToString().replace(b"Conv", b"C\xffnv")
    with pytest.raises(NetworkError, match=r"fine\.onnx"):
        load_network(tmp_path, of, Runtime("openvino", "cpu", 1), model=content)


def test_a_file_name_with_a_line_break_is_told_on_one_line(tmp_path: Path) -> None:
    _write(tmp_path, location="\neights")
    with pytest.raises(NetworkError, match=r"refers to '\\neights', the manifest to") as raised:
        with_weights((tmp_path / "fine.onnx").read_bytes(), "fine.onnx", (tmp_path / WEIGHTS).read_bytes(), WEIGHTS)
    assert "\n" not in str(raised.value)
