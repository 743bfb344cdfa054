"""Every exported network is built with TensorRT-RTX, which needs no GPU. None of its plans was run: that needs one."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from attention_dmfnet.model.loading import choose_for
from attention_dmfnet.model.manifest import Stage, load_manifest
from attention_dmfnet.model.network import NetworkError
from attention_dmfnet.model.runtimes import Runtime
from onnx import TensorProto, helper, numpy_helper

from export.__main__ import main
from export.errors import ExportError
from export.plans import add_plans
from export.publish import read_release
from export.tensorrt_plan import BuildOptions, BuiltPlan, _configure, _make_log, _parse, build_plan
from export.weights import standalone
from tests.engine.tiny import stage as tiny_stage

trt = pytest.importorskip("tensorrt_rtx", reason="needs tensorrt-rtx-cu13")

TILE = (16, 16, 32)
MB = 1 << 20


def _build(model: bytes, stage: Stage) -> BuiltPlan:
    return build_plan(model, "fine.onnx", "0" * 64, stage, trt, BuildOptions())


def _whole(exported: Path, stage: Stage, file: str) -> bytes:
    assert stage.weights is not None
    weights = stage.weights.file
    return standalone((exported / file).read_bytes(), file, (exported / weights).read_bytes(), weights)


@pytest.mark.parametrize("file", ["coarse.onnx", "coarse.float16.onnx", "fine.onnx", "fine.float16.onnx"])
def test_every_exported_network_becomes_a_plan_that_knows_its_origin(exported: Path, file: str) -> None:
    manifest = load_manifest(exported)
    stage = manifest.coarse if file.startswith("coarse") else manifest.fine
    stage = msgspec.structs.replace(stage, tile_multiple=None)
    model = _whole(exported, stage, file)
    built = build_plan(model, file, "a" * 64, stage, trt, BuildOptions())
    # the weights are in it, and not a multiple of them beyond what a plan of a small network carries anyway
    assert len(model) // 3 < len(built.content) < len(model) + 8 * MB
    assert (built.origin.runtime, built.origin.version) == ("tensorrt_rtx", trt.__version__)
    assert (built.origin.compatibility, built.origin.onnx_sha256) == ("ampere_plus", "a" * 64)
    inside = {line.split()[2] for line in built.layers if "CONVOLUTION" in line}
    assert inside == {"HALF" if "float16" in file else "FLOAT"}
    # the last layer gives the scores, in float32: 2 or 14 classes of the tile
    voxels = int(np.prod(stage.scores_tile_zyx))
    assert built.layers[-1].endswith(f"{stage.output.classes * voxels * 4 / MB:8.2f} MiB")


def test_the_profile_is_the_tile_and_the_workspace_is_limited(exported: Path) -> None:
    log = _make_log(trt)
    builder = trt.Builder(log)
    model = _whole(exported, load_manifest(exported).fine, "fine.onnx")
    network = _parse(model, "fine.onnx", builder, trt, log)
    config = _configure(builder, network, trt, TILE, BuildOptions(workspace_mb=64))
    assert config.num_optimization_profiles == 1
    assert config.get_memory_pool_limit(trt.MemoryPoolType.WORKSPACE) == 64 * MB
    assert list(network.get_input(0).shape) == [1, 1, -1, -1, -1]


def _model(
    nodes: list[Any], constants: dict[str, Any], in_type: int = TensorProto.FLOAT, out_type: int = TensorProto.FLOAT
) -> bytes:
    """An ONNX model from image (1, 1, 8, 16, 16) to scores (1, 14, 8, 16, 16)."""
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", in_type, [1, 1, 8, 16, 16])],
        [helper.make_tensor_value_info("scores", out_type, [1, 14, 8, 16, 16])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    content: bytes = model.SerializeToString()
    return content


def _int16_input() -> bytes:
    nodes = [
        helper.make_node("Cast", ["image"], ["single"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["single", "head"], ["scores"]),
    ]
    return _model(nodes, {"head": np.ones((14, 1, 1, 1, 1), np.float32)}, in_type=TensorProto.INT16)


def _quantised_bias() -> bytes:
    nodes = [
        helper.make_node("QuantizeLinear", ["image", "scale", "zero"], ["quantised"]),
        helper.make_node("DequantizeLinear", ["quantised", "scale", "zero"], ["x"]),
        helper.make_node("DequantizeLinear", ["weights", "scale", "zero"], ["w"]),
        helper.make_node("DequantizeLinear", ["biases", "scale", "zero32"], ["b"]),
        helper.make_node("Conv", ["x", "w", "b"], ["scores"]),
    ]
    constants = {
        "scale": np.array(0.1, np.float32),
        "zero": np.array(0, np.int8),
        "zero32": np.array(0, np.int32),
        "weights": np.ones((14, 1, 1, 1, 1), np.int8),
        "biases": np.ones(14, np.int32),
    }
    return _model(nodes, constants)


def _resize(mode: str) -> bytes:
    nodes = [
        helper.make_node("Conv", ["image", "head"], ["low"], strides=[2, 2, 2]),
        helper.make_node(
            "Resize", ["low", "", "scales"], ["scores"], mode="linear", coordinate_transformation_mode=mode
        ),
    ]
    constants = {
        "head": np.ones((14, 1, 1, 1, 1), np.float32),
        "scales": np.array([1, 1, 2, 2, 2], np.float32),
    }
    return _model(nodes, constants)


def test_a_resize_that_tensorrt_knows_is_built() -> None:
    """So that the refusal below is about the mode and nothing else."""
    assert _build(_resize("half_pixel"), tiny_stage()).content


@pytest.mark.parametrize(
    "model",
    [_int16_input, _quantised_bias, lambda: _resize("half_pixel_symmetric"), lambda: _resize("half_pixel")[:-100]],
    ids=["int16 input", "quantised bias", "unknown resize mode", "cut short"],
)
def test_what_tensorrt_refuses_is_an_error_with_its_reason(model: Callable[[], bytes]) -> None:
    # TensorRT's own words come after the colon
    with pytest.raises(ExportError, match=r"TensorRT (cannot read|does not build) fine\.onnx: \S.{10}"):
        _build(model(), tiny_stage())


def test_a_model_that_is_not_the_stages_is_refused(exported: Path) -> None:
    manifest = load_manifest(exported)
    with pytest.raises(ExportError, match=r"fine\.onnx: 'image' has the shape"):
        _build(_whole(exported, manifest.coarse, "coarse.onnx"), manifest.fine)
    half_outside = _model(
        [
            helper.make_node("Cast", ["image"], ["half"], to=TensorProto.FLOAT16),
            helper.make_node("Conv", ["half", "head"], ["scores"]),
        ],
        {"head": np.ones((14, 1, 1, 1, 1), np.float16)},
        out_type=TensorProto.FLOAT16,
    )
    onnx.checker.check_model(onnx.load_model_from_string(half_outside))
    with pytest.raises(ExportError, match=r"'scores' is DataType\.HALF"):
        _build(half_outside, tiny_stage())


def test_tensorrt_proper_is_not_touched_where_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attention_dmfnet.model.cuda_driver._LIBRARY", "libcuda-that-is-not-here.so")
    # has nothing but its name: to look at anything of it would raise AttributeError
    proper = SimpleNamespace(__name__="tensorrt")
    with pytest.raises(ExportError, match="there is none here: no NVIDIA driver"):
        build_plan(b"", "fine.onnx", "0" * 64, tiny_stage(), proper, BuildOptions())


def test_plans_stand_before_the_models_that_replace_them_where_they_do_not_fit(exported: Path) -> None:
    heard: list[str] = []
    release = read_release(exported)
    built = add_plans(release, trt, ["float32"], BuildOptions(), lambda file, plan: heard.append(file))
    assert heard == ["coarse.plan", "fine.plan"]
    for stage in (built.manifest.coarse, built.manifest.fine):
        plan, *models = stage.variants
        assert plan.plan is not None
        assert plan.plan.onnx_sha256 == models[0].sha256
        assert [model.plan for model in models] == [None, None]
        assert choose_for(stage, Runtime("tensorrt", "cuda", 1)) is plan
        assert choose_for(stage, Runtime("onnxruntime", "cpu", 1)) is models[0]
    assert set(built.files) == set(release.files) | set(heard)
    # again, and of another precision: the old plans go
    again = add_plans(built, trt, ["float16"], BuildOptions(), lambda file, plan: None)
    assert set(again.files) == set(release.files) | {"coarse.float16.plan", "fine.float16.plan"}
    # a half-precision plan that nobody measured is not chosen unless it is asked for
    with pytest.raises(NetworkError, match="run `python -m export parity`"):
        choose_for(again.manifest.fine, Runtime("tensorrt", "cuda", 1))
    half = choose_for(again.manifest.fine, Runtime("tensorrt", "cuda", 1, precision="float16"))
    assert half.file == "fine.float16.plan"


def test_a_precision_that_the_models_do_not_have_is_refused(exported: Path) -> None:
    release = read_release(exported)
    full_only = msgspec.structs.replace(
        release.manifest,
        coarse=msgspec.structs.replace(release.manifest.coarse, variants=release.manifest.coarse.variants[:1]),
    )
    with pytest.raises(ExportError, match=r"none of coarse\.onnx is float16"):
        add_plans(type(release)(full_only, release.files), trt, ["float16"], BuildOptions(), lambda file, plan: None)


def test_the_command_publishes_plans_beside_the_models(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plans = tmp_path / "plans"
    command = ["tensorrt", str(exported), "--to", str(plans), "--runtime", "tensorrt_rtx", "--precision", "float32"]
    assert main([*command, "--timing-report"]) == 0
    said = capsys.readouterr().out
    assert "fine.plan: " in said
    assert "RESIZE" in said
    assert {path.name for path in plans.glob("*.plan")} == {"coarse.plan", "fine.plan"}
    assert read_release(plans).manifest.fine.variants[0].file == "fine.plan"


def test_the_two_runtimes_share_what_the_builder_uses() -> None:
    """All of it is there in TensorRT-RTX; that TensorRT 11 has it too was read in its documentation."""
    for owner, names in {
        trt.IBuilderConfig: ["set_memory_pool_limit", "create_timing_cache", "set_timing_cache", "get_timing_cache"],
        trt.Builder: ["create_network", "create_builder_config", "create_optimization_profile"],
        trt.OnnxParser: ["parse", "num_errors", "get_error"],
        trt.HardwareCompatibilityLevel: ["SAME_COMPUTE_CAPABILITY", "AMPERE_PLUS"],
    }.items():
        assert set(names) <= set(dir(owner))
