"""What fills the stomach and the bowel in one painted scan: fluid, food, stool, contrast, gas, or nothing."""

from __future__ import annotations

from typing import Literal

import numpy as np

from training.painting.body_sites import BodySites
from training.painting.kernel import Look
from training.painting.tissue import Tissue

Stomach = Literal["usual", "dilated", "empty"]

_WALLS = {
    Tissue.STOMACH_CONTENT: Tissue.STOMACH,
    Tissue.DUODENUM_CONTENT: Tissue.DUODENUM,
    Tissue.BOWEL_CONTENT: Tissue.SMALL_BOWEL,
    Tissue.COLON_CONTENT: Tissue.COLON,
}


def fill_gut(look: Look, sites: BodySites, stomach: Stomach, alike: bool, rng: np.random.Generator) -> None:
    """Give the contents in ``look`` their HU, texture and gas.

    ``alike``: stomach, duodenum and bowel hold the same within walls of the same HU, as they often do after a drink.
    """
    for content, wall in _WALLS.items():
        kind = str(rng.choice(["fluid", "food", "contrast", "wall"], p=[0.45, 0.3, 0.1, 0.15]))
        if content == Tissue.STOMACH_CONTENT and stomach != "usual":
            kind = "wall" if stomach == "empty" else str(rng.choice(["fluid", "food", "contrast"], p=[0.5, 0.4, 0.1]))
        elif content == Tissue.COLON_CONTENT and kind in ("fluid", "wall"):
            kind = "stool"
        _fill(look, int(content), int(wall), kind, rng)
        _add_gas(look, int(content), sites, rng)
    if alike:
        _copy(look, Tissue.STOMACH_CONTENT, Tissue.DUODENUM_CONTENT, rng)
        _copy(look, Tissue.STOMACH_CONTENT, Tissue.BOWEL_CONTENT, rng)
        for wall in (Tissue.DUODENUM, Tissue.SMALL_BOWEL):
            look.hu[wall] = look.hu[Tissue.STOMACH] + rng.normal(0, 4)
    if stomach == "dilated":  # stretched until its wall cannot be told from what it holds
        for table in (look.hu, look.rough, look.patchy):
            table[Tissue.STOMACH] = table[Tissue.STOMACH_CONTENT]
    elif stomach == "empty":
        look.gas[Tissue.STOMACH_CONTENT], look.level[Tissue.STOMACH_CONTENT] = rng.uniform(1.5, 3), -1e9


def _fill(look: Look, content: int, wall: int, kind: str, rng: np.random.Generator) -> None:
    if kind == "fluid":
        look.hu[content], look.rough[content] = rng.uniform(-5, 40), 5
    elif kind == "wall":  # collapsed
        look.hu[content], look.rough[content] = look.hu[wall], 6
    elif kind == "contrast":
        look.hu[content], look.rough[content] = rng.uniform(120, 500), 20
    else:
        # stool is mottled with gas; food may be as even as fluid
        least = 25 if content == Tissue.COLON_CONTENT else 10
        look.hu[content] = rng.uniform(-60, 60)
        look.rough[content], look.patchy[content] = rng.uniform(least, 60), rng.uniform(least, 60)


def _add_gas(look: Look, content: int, sites: BodySites, rng: np.random.Generator) -> None:
    often = 0.75 if content == Tissue.COLON_CONTENT else 0.45
    if rng.uniform() < often:
        look.gas[content] = rng.uniform(0.2, 1.6)
    if content in sites.box and rng.uniform() < 0.6:
        low, high = (end[1] for end in sites.box[content])
        look.level[content] = low + rng.uniform(0, 0.7) * (high - low)


def _copy(look: Look, source: Tissue, to: Tissue, rng: np.random.Generator) -> None:
    look.hu[to] = look.hu[source] + rng.normal(0, 4)
    look.rough[to], look.patchy[to] = look.rough[source], look.patchy[source]
