"""The gate before publication: variants within the bounds are marked in the manifest as passed, the others go."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from attention_dmfnet.model.manifest import Precision, Stage, Variant

from export.bounds import why_refused
from export.errors import ExportError
from export.figures import Figures, ParityFigures, VariantFigures
from export.release import Release, named_files

if TYPE_CHECKING:
    from export.parity import StageName


@dataclass(frozen=True, slots=True)
class Verdict:
    """The figures of one variant in one runtime, and why they are refused if they are."""

    stage: StageName
    variant: Variant
    parity: ParityFigures
    refused: str | None


def judge(stage: StageName, variant: Variant, parity: ParityFigures) -> Verdict:
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
    parity: list[VariantFigures] = []
    coarse, fine = (
        _gated(name, stage, release.figures, [verdict for verdict in verdicts if verdict.stage == name], parity)
        for name, stage in _stages(release).items()
    )
    manifest = msgspec.structs.replace(release.manifest, coarse=coarse, fine=fine)
    named = {one.file for one in named_files(manifest)}
    return dataclasses.replace(
        release,
        manifest=manifest,
        files={name: content for name, content in release.files.items() if name in named},
        figures=msgspec.structs.replace(release.figures, parity=tuple(parity)),
    )


def _stages(release: Release) -> Mapping[StageName, Stage]:
    return {"coarse": release.manifest.coarse, "fine": release.manifest.fine}


def _gated(
    name: StageName, stage: Stage, figures: Figures, verdicts: Sequence[Verdict], parity: list[VariantFigures]
) -> Stage:
    """The stage with the variants that stay; what was measured of them is added to ``parity``."""
    measured: dict[tuple[str, Precision], list[Verdict]] = {}
    for verdict in verdicts:
        measured.setdefault((verdict.variant.file, verdict.variant.precision), []).append(verdict)
    known = {(variant.file, variant.precision): variant for variant in stage.variants}
    # such as bfloat16 in OpenVINO, which needs no file of its own
    new = {key: own[0].variant for key, own in measured.items() if key not in known}
    variants = []
    for (file, precision), variant in (known | new).items():
        passed = _passed(figures.of(name, file, precision), measured.get((file, precision), []))
        if passed:
            parity.append(VariantFigures(name, file, precision, passed))
        if passed or precision == "float32":
            rows = tuple(one.row for one in passed)
            variants.append(msgspec.structs.replace(variant, parity=rows or None))
    return msgspec.structs.replace(stage, variants=tuple(variants))


def _passed(before: Sequence[ParityFigures], verdicts: Sequence[Verdict]) -> tuple[ParityFigures, ...]:
    """The figures with which a variant passed, here or on other kinds of machines: what was measured there holds."""
    here = {(verdict.parity.backend, verdict.parity.device) for verdict in verdicts}
    elsewhere = (one for one in before if (one.backend, one.device) not in here)
    return (*elsewhere, *(verdict.parity for verdict in verdicts if verdict.refused is None))
