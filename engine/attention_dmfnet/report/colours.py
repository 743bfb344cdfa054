"""The colour of each label in pictures and in the viewer."""

from __future__ import annotations

from typing import Final

Rgb = tuple[int, int, int]

_COLOURS: Final[tuple[Rgb, ...]] = (
    (221, 124, 96),
    (255, 214, 64),
    (164, 104, 196),
    (255, 158, 60),
    (232, 40, 48),
    (52, 120, 246),
    (0, 206, 209),
    (255, 105, 180),
    (82, 190, 82),
    (190, 144, 92),
    (110, 220, 170),
    (196, 220, 60),
    (150, 196, 255),
)


def colour_of(label: int) -> Rgb:
    """Red, green and blue, 0 to 255, of ``label``, from 1 on."""
    return _COLOURS[(label - 1) % len(_COLOURS)]
