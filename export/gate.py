"""The gate before publication: variants within the bounds get their figures into the manifest, the others go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from attention_dmfnet.model.manifest import Parity, Stage, Variant

from export.bounds import why_refused
from export.errors import ExportError
from export.release import Release

if TYPE_CHECKING:
    from export.parity import StageName


@dataclass(frozen=True, slots=True)
class Verdict:
    """The figures of one variant in one runtime, and why they are refused if they are."""

    stage: StageName
    variant: Variant
    parity: Parity
    refused: str | None


def judge(stage: StageName, variant: Variant, parity: Parity) -> Verdict:
    """Hold the figures of ``variant`` against the bounds for its precision."""
    return Verdict(stage, variant, parity, why_refused(variant.precision, parity))


def pass_gate(release: Release, verdicts: Sequence[Verdict]) -> Release:
    """The release with the figures that passed, without the variants (and their files) that passed nowhere.

    Variants that were not measured are left as they are if they are full precision or were measured before, say on
    another machine; otherwise they go as well: they might never be looked at again. Raises ``ExportError`` if full
    precision was refused anywhere: then it is the export that is wrong.
    """
    for verdict in verdicts:
        if verdict.refused is not None and verdict.variant.precision == "float32":
            raise ExportError(
                f"{verdict.variant.file} in {verdict.parity.backend} ({verdict.parity.device}) is not the network "
                f"that was trained: {verdict.refused}; nothing was published"
            )
    coarse, fine = (
        _gated(stage, [verdict for verdict in verdicts if verdict.stage == name])
        for name, stage in _stages(release).items()
    )
    files = {variant.file for stage in (coarse, fine) for variant in stage.variants}
    return Release(
        msgspec.structs.replace(release.manifest, coarse=coarse, fine=fine),
        {name: content for name, content in release.files.items() if name in files},
    )


def _stages(release: Release) -> Mapping[StageName, Stage]:
    return {"coarse": release.manifest.coarse, "fine": release.manifest.fine}


def _gated(stage: Stage, verdicts: Sequence[Verdict]) -> Stage:
    measured: dict[tuple[str, str], list[Verdict]] = {}
    for verdict in verdicts:
        measured.setdefault((verdict.variant.file, verdict.variant.precision), []).append(verdict)
    known = {(variant.file, variant.precision): variant for variant in stage.variants}
    # such as bfloat16 in OpenVINO, which needs no file of its own
    new = {key: own[0].variant for key, own in measured.items() if key not in known}
    gated = [_with_figures(variant, measured.get(key, [])) for key, variant in (known | new).items()]
    return msgspec.structs.replace(stage, variants=tuple(variant for variant in gated if variant is not None))


def _with_figures(variant: Variant, verdicts: Sequence[Verdict]) -> Variant | None:
    """The variant with its figures, or None if it has none."""
    here = {(verdict.parity.backend, verdict.parity.device) for verdict in verdicts}
    # what was measured on other kinds of machines still holds
    rows = [row for row in variant.parity or () if (row.backend, row.device) not in here]
    rows += [verdict.parity for verdict in verdicts if verdict.refused is None]
    if not rows and variant.precision != "float32":
        return None
    return msgspec.structs.replace(variant, parity=tuple(rows) or None)
