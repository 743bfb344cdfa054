import pytest
from attention_dmfnet.model.manifest import Precision

from export.bounds import why_refused
from export.errors import ExportError
from export.figures import check_figures
from export.gate import Verdict, judge, pass_gate
from export.parity_table import parity_table
from tests.export.small_release import parity, small_release, variant


@pytest.mark.parametrize(
    ("precision", "differ", "dsc", "refused"),
    [
        ("float32", 1e-5, {}, None),
        ("float32", 1.1e-5, {}, "labels differ on 1.1e-05"),
        # in full precision the share of labels decides
        ("float32", 0.0, {"liver": 0.5}, None),
        # and in a reduced one the overlap, however many labels differ
        ("bfloat16", 0.2, {"liver": 0.995}, None),
        ("bfloat16", 0.0, {"liver": 0.9949}, "liver 0.9949 < 0.995"),
        ("float16", 0.0, {"left_adrenal_gland": 0.98}, None),
        ("float16", 0.0, {"left_adrenal_gland": 0.9799}, "left adrenal gland 0.9799 < 0.98"),
        ("float16", 0.0, {"liver": 0.9, "left_adrenal_gland": 0.9}, "liver 0.9000 < 0.995, left adrenal gland 0.9000"),
    ],
)
def test_the_bounds_are_those_that_were_agreed(
    precision: Precision, differ: float, dsc: dict[str, float], refused: str | None
) -> None:
    reason = why_refused(precision, parity(differ, **dsc))
    if refused is None:
        assert reason is None
    else:
        assert reason is not None
        assert refused in reason


def test_what_passed_has_its_figures_in_the_manifest_and_what_failed_is_gone_with_its_file() -> None:
    release = small_release(float16=b"half", bfloat16=b"other")
    good, bad = parity(), parity(liver=0.9)
    verdicts = [
        *(judge(stage, variant(release, stage, "float32"), good) for stage in ("coarse", "fine")),
        judge("coarse", variant(release, "coarse", "float16"), good),
        judge("fine", variant(release, "fine", "float16"), bad),
        judge("coarse", variant(release, "coarse", "bfloat16"), bad),
        judge("fine", variant(release, "fine", "bfloat16"), good),
    ]
    gated = pass_gate(release, verdicts)
    assert [(v.file, v.parity) for v in gated.manifest.coarse.variants] == [
        ("coarse.onnx", (good.row,)),
        ("coarse.float16.onnx", (good.row,)),
    ]
    assert [v.file for v in gated.manifest.fine.variants] == ["fine.onnx", "fine.bfloat16.onnx"]
    assert sorted(gated.files) == ["coarse.float16.onnx", "coarse.onnx", "fine.bfloat16.onnx", "fine.onnx"]
    # and all that was measured lies beside it
    assert [(one.stage, one.file, one.passed) for one in gated.figures.parity] == [
        ("coarse", "coarse.onnx", (good,)),
        ("coarse", "coarse.float16.onnx", (good,)),
        ("fine", "fine.onnx", (good,)),
        ("fine", "fine.bfloat16.onnx", (good,)),
    ]
    check_figures(gated.figures, gated.manifest)


def test_a_variant_is_refused_in_one_runtime_and_stays_for_another() -> None:
    release = small_release(float16=b"half")
    half = variant(release, "fine", "float16")
    on_gpu = parity(backend="onnxruntime", device="cuda")
    gated = pass_gate(release, [judge("fine", half, parity(liver=0.9)), judge("fine", half, on_gpu)])
    assert variant(gated, "fine", "float16").parity == (on_gpu.row,)


def test_figures_from_another_machine_stay_and_those_from_this_one_are_renewed() -> None:
    release = small_release(float16=b"half")
    half = variant(release, "fine", "float16")
    on_gpu, before, now = parity(backend="onnxruntime", device="cuda"), parity(0.1), parity(0.2)
    first = pass_gate(release, [judge("fine", half, on_gpu), judge("fine", half, before)])
    second = pass_gate(first, [judge("fine", variant(first, "fine", "float16"), now)])
    assert second.figures.of("fine", "fine.float16.onnx", "float16") == (on_gpu, now)
    # a failure here takes only the figures of this runtime
    third = pass_gate(first, [judge("fine", variant(first, "fine", "float16"), parity(liver=0.1))])
    assert variant(third, "fine", "float16").parity == (on_gpu.row,)


def test_reduced_precision_that_nobody_measured_is_not_published() -> None:
    release = small_release(float16=b"half")
    gated = pass_gate(release, [judge("fine", variant(release, "fine", "float32"), parity())])
    assert sorted(gated.files) == ["coarse.onnx", "fine.onnx"]


def test_a_precision_that_needs_no_file_of_its_own_appears_when_it_passed() -> None:
    release = small_release()
    full = variant(release, "fine", "float32")
    bfloat = type(full)(full.file, full.sha256, "bfloat16", None)
    passed = pass_gate(release, [judge("fine", bfloat, parity(0.01))])
    assert [(v.file, v.precision) for v in passed.manifest.fine.variants] == [
        ("fine.onnx", "float32"),
        ("fine.onnx", "bfloat16"),
    ]
    failed = pass_gate(release, [judge("fine", bfloat, parity(0.01, liver=0.9))])
    assert failed == release


def test_full_precision_that_differs_stops_everything() -> None:
    release = small_release()
    with pytest.raises(ExportError, match=r"fine\.onnx in openvino \(cpu\) is not the network that was trained"):
        pass_gate(release, [judge("fine", variant(release, "fine", "float32"), parity(1e-3))])


def test_the_table_tells_every_figure_and_every_refusal() -> None:
    release = small_release(float16=b"half")
    verdicts: list[Verdict] = [
        judge("coarse", variant(release, "coarse", "float32"), parity()),
        judge("fine", variant(release, "fine", "float16"), parity(2e-4, "onnxruntime", "cuda", liver=0.9)),
    ]
    table = parity_table(verdicts, "PyTorch")
    assert "Against PyTorch, on 1 scan: A. a CPU." in table
    assert "| coarse | OpenVINO | float32 | 1.0e-01 | 0 | 1 | 0.500 | passed |" in table
    assert ("| fine | ONNX Runtime, GPU | float16 | 1.0e-01 | 2.0e-04 | 0.9000 (liver) | 0.500 | refused |") in table
    assert "- fine, ONNX Runtime, GPU, float16: DSC against full precision: liver 0.9000 < 0.995" in table
    assert "| left adrenal gland | 1.0000 |" in table
