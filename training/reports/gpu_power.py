"""The design power (TDP) of GPUs by the names that CUDA gives them, for where NVML does not tell what they may use.

The figures are those of the vendor's data sheets. A name must fit whole: a laptop's chip, a part of a GPU (MIG) or a
later model of nearly the same name uses another power.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_TDP_WATTS = {
    r"V100-SXM2-\d+GB": 300,
    r"V100-PCIE-\d+GB": 250,
    r"A100-SXM4-\d+GB": 400,
    r"A100-PCIE-40GB": 250,
    r"A100 80GB PCIe": 300,
    r"H100 80GB HBM3": 700,  # SXM5
    r"H100 PCIe": 350,
    r"T4": 70,
    r"L4": 72,
    r"A10": 150,
    r"A40": 300,
    r"L40S": 350,
    r"RTX A6000": 300,
    r"RTX 6000 Ada Generation": 300,
    r"Quadro RTX 5000": 230,  # Turing; the Ada one has no Quadro in its name
    r"GeForce RTX 3090": 350,
    r"GeForce RTX 4090": 450,
    r"GeForce RTX 2080 Ti": 250,
}
_BRANDS = r"(?:NVIDIA |Tesla )*"


def tdp_watts(names: Sequence[str]) -> float | None:
    """Watts of all these GPUs together; None if one of them is not in the table."""
    each = [_watts(name) for name in names]
    return float(sum(watts for watts in each if watts)) if all(each) else None


def _watts(name: str) -> int | None:
    return next((watts for known, watts in _TDP_WATTS.items() if re.fullmatch(_BRANDS + known, name)), None)
