"""Which of a stage's variants a runtime uses: the fastest that was proven equal there."""

from collections.abc import Collection

from attention_dmfnet.model.manifest import BackendName, DeviceName, Precision, Stage, Variant
from attention_dmfnet.model.network import LoadError


def choose_variant(
    stage: Stage,
    backend: BackendName,
    device: DeviceName,
    possible: Collection[Precision],
    native: Collection[Precision],
    wanted: Precision | None = None,
) -> Variant:
    """The variant for a runtime that can compute in the ``possible`` precisions, and fast in the ``native`` ones.

    Of the native ones that passed the parity test in this runtime, the fastest is taken. Full precision needs no test
    to be used: it is the original. ``wanted`` overrules all of that. Raises ``LoadError`` if nothing fits.
    """
    # plans are TensorRT's alone, and it reads nothing else
    readable = [variant for variant in stage.variants if (variant.plan is not None) == (backend == "tensorrt")]
    fitting = [variant for variant in readable if variant.precision in possible]
    if wanted is not None:
        fitting = [variant for variant in fitting if variant.precision == wanted]
        possible = (wanted,) if wanted in possible else ()
        if fitting:
            return fitting[0]
    passed = [
        (row.seconds_per_tile, index)
        for index, variant in enumerate(fitting)
        if variant.precision in native
        for row in variant.parity or ()
        if (row.backend, row.device) == (backend, device)
    ]
    if passed:
        return fitting[min(passed)[1]]
    for variant in fitting:
        if variant.precision == "float32":
            return variant
    raise LoadError(_complaint(stage, readable, possible, wanted))


def _complaint(
    stage: Stage, readable: Collection[Variant], possible: Collection[Precision], wanted: Precision | None
) -> str:
    if wanted is not None and not possible:
        return f"this runtime does not compute in {wanted} on this machine; choose another --precision or --backend"
    offered = ", ".join(f"{variant.file} ({variant.precision})" for variant in readable or stage.variants)
    if wanted is not None:
        return f"the manifest has no {wanted} variant for this runtime, only {offered}; choose another --precision"
    return (
        f"this runtime computes in {' or '.join(possible)} here, but the manifest offers only {offered}, "
        "none of them full precision or tested there; run `python -m export parity`, or choose with --precision"
    )
