import msgspec
import pytest
from attention_dmfnet.model.manifest import BackendName, DeviceName, Parity, Plan, Precision, Stage, Variant
from attention_dmfnet.model.network import NetworkError
from attention_dmfnet.model.variants import choose_variant

from tests.engine.tiny import stage

ALL: tuple[Precision, ...] = ("float32", "bfloat16", "float16")


def _parity(seconds: float, backend: BackendName = "openvino", device: DeviceName = "cpu") -> Parity:
    return Parity(backend, device, seconds)


def _variant(file: str, precision: Precision, *parity: Parity, plan: Plan | None = None) -> Variant:
    return Variant(file, "0" * 64, precision, parity or None, plan)


def _stage(*variants: Variant) -> Stage:
    return msgspec.structs.replace(stage(), variants=variants)


FULL = _variant("full.onnx", "float32", _parity(0.4))
BFLOAT = _variant("full.onnx", "bfloat16", _parity(0.2))
UNTESTED_HALF = _variant("half.onnx", "float16")


def test_the_fastest_variant_that_passed_in_this_runtime_is_chosen() -> None:
    assert choose_variant(_stage(FULL, BFLOAT), "openvino", "cpu", ALL, ALL) is BFLOAT
    slow = _variant("full.onnx", "bfloat16", _parity(0.5))
    assert choose_variant(_stage(FULL, slow), "openvino", "cpu", ALL, ALL) is FULL


def test_what_passed_in_another_runtime_or_on_another_device_does_not_count() -> None:
    elsewhere = _variant("half.onnx", "float16", _parity(0.1, "onnxruntime", "cuda"))
    both = _stage(elsewhere, FULL)
    assert choose_variant(both, "openvino", "cpu", ALL, ALL) is FULL
    assert choose_variant(both, "onnxruntime", "cpu", ALL, ALL) is FULL
    assert choose_variant(both, "onnxruntime", "cuda", ALL, ALL) is elsewhere


def test_a_precision_that_this_machine_has_no_instructions_for_is_not_chosen() -> None:
    assert choose_variant(_stage(BFLOAT, FULL), "openvino", "cpu", ALL, native=["float32"]) is FULL


def test_full_precision_needs_no_test_and_the_others_do() -> None:
    untested = _variant("full.onnx", "float32")
    assert choose_variant(_stage(UNTESTED_HALF, untested), "openvino", "cpu", ALL, ALL) is untested
    with pytest.raises(NetworkError, match=r"half\.onnx \(float16\), none of them full precision or tested"):
        choose_variant(_stage(UNTESTED_HALF), "openvino", "cpu", ALL, ALL)


def test_a_precision_that_was_asked_for_overrules_tests_and_machine() -> None:
    three = _stage(FULL, BFLOAT, UNTESTED_HALF)
    assert choose_variant(three, "openvino", "cpu", ALL, ["float32"], "float16") is UNTESTED_HALF
    assert choose_variant(three, "openvino", "cpu", ALL, ALL, "float32") is FULL


def test_a_precision_that_cannot_be_had_is_refused_with_the_reason() -> None:
    with pytest.raises(NetworkError, match=r"no float16 variant for this runtime, only full\.onnx \(float32\)"):
        choose_variant(_stage(FULL), "openvino", "cpu", ALL, ALL, "float16")
    with pytest.raises(NetworkError, match="does not compute in bfloat16"):
        choose_variant(_stage(FULL, BFLOAT), "onnxruntime", "cpu", ["float32"], ["float32"], "bfloat16")


def test_plans_are_for_tensorrt_alone_and_it_takes_nothing_else() -> None:
    plan = Plan("tensorrt", "11.4.0", "Quadro RTX 5000", "7.5", "none", "0" * 64)
    built = _variant("full.plan", "float32", plan=plan)
    both = _stage(built, FULL)
    assert choose_variant(both, "tensorrt", "cuda", ALL, ALL) is built
    assert choose_variant(both, "onnxruntime", "cuda", ALL, ALL) is FULL
