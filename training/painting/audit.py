"""An audit of a body's labels against anatomy, without a network: range, volume, parts, sides, neighbours, widths.

Labels that a completion drew wrong teach a network the same fault, and painted validation shares it. So what is known
of any adult is asked of every body: where an organ begins and ends, how large it is, what it touches.
``training.painting.audit_limits`` has what is allowed, ``training.painting.audit_checks`` what is measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from evaluation.organs import ORGANS
from training.painting.anatomy import TissueMap
from training.painting.audit_checks import measurements
from training.painting.audit_limits import Range
from training.painting.completion import BODY_SPACING_ZYX
from training.painting.located import Triple, locate


@dataclass(frozen=True)
class Finding:
    """One measurement outside of what is ``allowed``.

    A ``note`` is about an organ that the body does not teach, or a known patient's illness (``reason``). The rest fail.
    """

    organ: str
    what: str
    measured: float
    allowed: Range
    unit: str = "mm"
    severity: Literal["fail", "note"] = "fail"
    reason: str = ""

    def __str__(self) -> str:
        because = f" ({self.reason})" if self.reason else ""
        return f"{self.organ}: {self.what} {self.measured:.4g}{self.unit_text}, allowed {self.limits}{because}"

    @property
    def limits(self) -> str:
        """``allowed`` in words."""
        low, high = self.allowed
        if math.isinf(high):
            return f"at least {low:g}"
        return f"at most {high:g}" if math.isinf(low) else f"{low:g} to {high:g}"

    @property
    def unit_text(self) -> str:
        """The unit as it follows a number."""
        return f" {self.unit}" if self.unit else ""


@dataclass(frozen=True)
class Illness:
    """A measurement of one source patient that is outlying and real."""

    source: str
    organ: str
    what: str
    reason: str


KNOWN_ILLNESS: tuple[Illness, ...] = (
    Illness("btcv_0008", "right kidney", "volume", "shrunken kidneys of 10 mL, drawn by experts"),
    Illness("btcv_0008", "left kidney", "volume", "shrunken kidneys of 10 mL, drawn by experts"),
    Illness("btcv_0009", "spleen", "volume", "a spleen of 3.1 L, drawn by experts"),
    Illness("btcv_0009", "aorta", "bottom above the kidneys' lower poles", "the spleen pushes the left kidney down"),
    # no illness: one part of 1.1 mL and a speck; the scan is taught as it is, its HU are real
    Illness("ts_example", "left adrenal gland", "share of its largest part", "drawn in two parts by a model"),
    Illness("word_0037", "left adrenal gland", "volume", "adrenals of 12 and 18 mL, drawn by experts"),
)
"""Outliers that are true: their findings become notes."""


def audit(
    tissues: TissueMap,
    name: str = "",
    known: frozenset[int] | None = None,
    spacing_zyx: Triple = BODY_SPACING_ZYX,
    illnesses: tuple[Illness, ...] = KNOWN_ILLNESS,
) -> list[Finding]:
    """What of a body's tissue map (z, y, x) is not as it is in adults; an empty list for a body like any other.

    ``known`` are the labels (1-13) that the body teaches, all of them without it: what concerns another organ is a
    note. ``name`` is the body's, ``SOURCE`` or ``SOURCE_VARIANT``: findings that ``illnesses`` explain are notes, too.
    Raises ``ValueError`` for a map without any tissue.
    """
    body = locate(tissues, spacing_zyx)
    taught = frozenset(range(1, len(ORGANS) + 1)) if known is None else known
    findings = []
    for found in measurements(body, taught):
        low, high = found.allowed
        if low <= found.measured <= high:
            continue
        organ = ORGANS[found.organs[0] - 1]
        finding = Finding(organ, found.what, found.measured, found.allowed, found.unit)
        untaught = [ORGANS[other - 1] for other in found.organs if other not in taught]
        illness = _illness(name, finding, illnesses)
        if illness is not None:
            finding = replace(finding, severity="note", reason=illness.reason)
        elif untaught:
            finding = replace(finding, severity="note", reason=f"the body does not teach the {untaught[0]}")
        findings.append(finding)
    return findings


def failed(findings: list[Finding]) -> bool:
    """Whether one of them is more than a note."""
    return any(finding.severity == "fail" for finding in findings)


def passes(tissues: TissueMap, name: str = "", known: frozenset[int] | None = None) -> bool:
    """The gate: whether this body may be painted from. Arguments are those of ``audit``."""
    return not failed(audit(tissues, name, known))


def _illness(name: str, finding: Finding, illnesses: tuple[Illness, ...]) -> Illness | None:
    for illness in illnesses:
        same = illness.organ == finding.organ and illness.what == finding.what
        if same and (name == illness.source or name.startswith(f"{illness.source}_")):
            return illness
    return None
