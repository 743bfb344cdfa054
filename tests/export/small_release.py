"""A release whose "networks" are a few bytes: what publishing and judging look at is around them."""

from typing import Any

import msgspec
from attention_dmfnet.model.manifest import Manifest, Precision, Variant

from export.figures import ParityFigures
from export.release import Release, sha256
from tests.engine.tiny import manifest_json


def small_release(**variants: bytes) -> Release:
    """A release with the files ``coarse.onnx`` and ``fine.onnx`` and, for both stages, further ``variants``.

    A keyword is a precision, its value the content of ``{stage}.{precision}.onnx``.
    """
    files = {"coarse.onnx": b"coarse", "fine.onnx": b"fine"}
    content = manifest_json(files["coarse.onnx"], files["fine.onnx"])
    for precision, data in variants.items():
        for stage in ("coarse", "fine"):
            name = f"{stage}.{precision}.onnx"
            files[name] = data
            content[stage]["variants"].append(
                {"file": name, "sha256": sha256(data), "precision": precision, "parity": None}
            )
    return Release(msgspec.convert(content, Manifest), files)


def variant(release: Release, stage: str, precision: Precision) -> Variant:
    """The variant of a stage in a precision."""
    found: list[Variant] = [v for v in getattr(release.manifest, stage).variants if v.precision == precision]
    return found[0]


def parity(differ: float = 0.0, backend: Any = "openvino", device: Any = "cpu", **dsc: float) -> ParityFigures:
    """A row of figures; organs that are not named agree fully."""
    by_organ = {"liver": 1.0, "left adrenal gland": 1.0} | {organ.replace("_", " "): d for organ, d in dsc.items()}
    return msgspec.convert(
        {
            "backend": backend,
            "device": device,
            "max_score_difference": 0.1,
            "labels_differ": differ,
            "dsc": by_organ,
            "seconds_per_tile": 0.5,
            "machine": "a CPU; openvino 1.0",
            "measured_on": "1 scan: A",
        },
        ParityFigures,
    )
