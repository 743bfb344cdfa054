"""What the pages say of each organ and case: words, bars and sort keys from the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from attention_dmfnet.adult_volumes import ADULT_VOLUMES
from attention_dmfnet.files.cases import printable
from attention_dmfnet.geometry import Triple
from attention_dmfnet.notes import Note
from attention_dmfnet.organs import colour_of
from attention_dmfnet.report.advice import advice_for
from attention_dmfnet.report.pictures import Section
from attention_dmfnet.report.statistics import OrganStatistics

_BAR_PX: Final = 200


@dataclass(frozen=True, slots=True)
class NoteRow:
    """A note and what to do about it."""

    code: str
    text: str
    advice: str


def note_rows(notes: Sequence[Note]) -> list[NoteRow]:
    """The ``notes``, each with its advice."""
    return [NoteRow(note.code, printable(note), advice_for(note.code)) for note in notes]


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar for a volume: (x, width) of the ranges behind it and its own width, in pixels; ``text`` says the same."""

    volume: float
    wide: tuple[float, float]
    band: tuple[float, float] | None
    cut: bool
    text: str


@dataclass(frozen=True, slots=True)
class OrganRow:
    """A row of a case's table."""

    organ: str
    label: int
    colour: str
    found: bool
    volume_ml: float
    volume: str
    bar: Bar | None
    state: str
    said: str
    flagged: bool
    hu_mean: str
    hu: str
    hu_median: str
    longest: str
    size: str
    parts: str
    probability: str
    sections: Sequence[Section]


def organ_row(organ: OrganStatistics, sections: Sequence[Section]) -> OrganRow:
    """The row of ``organ`` with its ``sections``."""
    state, said = _state(organ)
    extent = organ.extent_mm_xyz
    return OrganRow(
        organ.organ,
        organ.label,
        css_colour(organ.organ),
        organ.voxels > 0,
        round(organ.volume_ml, 3),
        millilitres(organ.volume_ml) if organ.voxels else "–",
        _bar(organ) if organ.voxels else None,
        state,
        said,
        state in ("below", "above"),
        _number(organ.hu_mean, 1),
        f"{organ.hu_mean:.0f} ± {organ.hu_std:.0f}" if organ.hu_mean is not None and organ.hu_std is not None else "",
        _number(organ.hu_median, 0),
        _number(max(extent) if extent else None, 1),
        size_mm(extent) if extent else "",
        str(organ.parts) if organ.voxels else "",
        _number(organ.mean_probability, 3),
        sections,
    )


def css_colour(organ: str) -> str:
    """The colour of ``organ`` as CSS has it."""
    return "#{:02x}{:02x}{:02x}".format(*colour_of(organ))


def millilitres(volume_ml: float) -> str:
    """To the millilitre, small organs to a tenth."""
    return f"{volume_ml:.0f}" if volume_ml >= 10 else f"{volume_ml:.1f}"


def size_mm(mm_xyz: Triple) -> str:
    """Left-right × front-back × foot-head."""
    return " × ".join(f"{mm:.0f}" for mm in mm_xyz)


def outside(organs: Sequence[OrganStatistics]) -> list[str]:
    """The organs outside of their range, in words."""
    return [
        f"{organ.organ} {millilitres(organ.volume_ml)} mL, {organ.against_reference} {_range(organ.reference_ml)}"
        for organ in organs
        if organ.reference_ml is not None and organ.against_reference in ("below", "above")
    ]


def _state(organ: OrganStatistics) -> tuple[str, str]:
    """A key to sort by, and the words."""
    if not organ.voxels:
        return "not found", "not found"
    if organ.cut:
        return "cut", f"cut by the scan: {', '.join(organ.edges)}"
    if organ.reference_ml is None or organ.against_reference is None:
        known = ADULT_VOLUMES.get(organ.organ)
        return "no range", f"no range: {'none is known' if known is None else known.source}"
    return organ.against_reference, f"{organ.against_reference} {_range(organ.reference_ml)}"


def _range(range_ml: tuple[float, float]) -> str:
    return " to ".join(millilitres(ml) for ml in range_ml) + " mL"


def _bar(organ: OrganStatistics) -> Bar:
    known = ADULT_VOLUMES.get(organ.organ)
    low, high = known.possible_ml if known else (0.0, organ.volume_ml)
    healthy_ml = known.healthy_ml if known else None
    # an organ has one scale in all cases; the whole of the wider range would leave no room for the other
    most = max(organ.volume_ml, 2 * healthy_ml[1] if healthy_ml else high)
    scale = _BAR_PX / most

    def span(start: float, stop: float) -> tuple[float, float]:
        return round(start * scale, 1), round(max(min(stop, most) - start, 0.0) * scale, 1)

    return Bar(
        round(organ.volume_ml * scale, 1),
        span(low, high),
        span(*organ.reference_ml) if organ.reference_ml else None,
        organ.cut,
        f"{millilitres(organ.volume_ml)} mL; {_state(organ)[1]}",
    )


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
