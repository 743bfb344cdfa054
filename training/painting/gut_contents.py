"""What fills the stomach and the bowel in one painted scan: fluid, food, stool, contrast, gas, or nothing."""

from __future__ import annotations

from typing import Literal

import numpy as np

from training.painting.body_sites import BodySites
from training.painting.look import Look
from training.painting.tissue import Tissue

Stomach = Literal["usual", "dilated", "empty"]
Drink = Literal["none", "stomach", "bowel", "both"]
"""Where positive oral contrast has got to; ``bowel`` hours after the drink."""

_WALLS = {
    Tissue.STOMACH_CONTENT: Tissue.STOMACH,
    Tissue.DUODENUM_CONTENT: Tissue.DUODENUM,
    Tissue.BOWEL_CONTENT: Tissue.SMALL_BOWEL,
    Tissue.COLON_CONTENT: Tissue.COLON,
}


_CONTRAST_HU = 60.0
_DRUNK: dict[Drink, tuple[Tissue, ...]] = {
    "none": (),
    "stomach": (Tissue.STOMACH_CONTENT, Tissue.DUODENUM_CONTENT),
    "bowel": (Tissue.BOWEL_CONTENT, Tissue.COLON_CONTENT),
    "both": (Tissue.STOMACH_CONTENT, Tissue.DUODENUM_CONTENT, Tissue.BOWEL_CONTENT, Tissue.COLON_CONTENT),
}


def fill_gut(
    look: Look, sites: BodySites, stomach: Stomach, alike: bool, rng: np.random.Generator, drink: Drink = "none"
) -> None:
    """Give the contents in ``look`` their HU, texture, folds and gas.

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
    if drink != "none":
        _drink(look, sites, drink, rng)
    if stomach == "dilated":  # stretched until its wall cannot be told from what it holds
        if look.hu[Tissue.STOMACH_CONTENT] < _CONTRAST_HU:  # else the gas would stand in a ring of contrast
            for table in (look.hu, look.rough, look.patchy):
                table[Tissue.STOMACH] = table[Tissue.STOMACH_CONTENT]
        look.fold[Tissue.STOMACH_CONTENT] = 0
    elif stomach == "empty":
        look.gas[Tissue.STOMACH_CONTENT], look.level[Tissue.STOMACH_CONTENT] = rng.uniform(1.5, 3), -1e9


def _drink(look: Look, sites: BodySites, drink: Drink, rng: np.random.Generator) -> None:
    """One agent of 80 to 500 HU, diluted differently in each part of the gut; gas stands above it."""
    agent = float(np.exp(rng.uniform(np.log(80), np.log(500))))
    for content in _DRUNK[drink]:
        look.hu[content] = np.clip(agent * rng.uniform(0.6, 1.3), _CONTRAST_HU, 500)
        # mixed with food or stool, or even
        look.rough[content], look.patchy[content] = rng.uniform(4, 25), rng.uniform(0, 0.3) * agent
        if rng.uniform() < 0.5:
            look.gas[content] = 99.0
            _add_level(look, int(content), sites, rng)


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
    if rng.uniform() < 0.6:
        _add_level(look, content, sites, rng)
    if content != Tissue.COLON_CONTENT and rng.uniform() < 0.5:
        look.fold[content] = rng.uniform(0.05, 0.25)


def _add_level(look: Look, content: int, sites: BodySites, rng: np.random.Generator) -> None:
    """Gas above a level: a little of it, or nearly nothing else."""
    if content in sites.box:
        low, high = (end[1] for end in sites.box[content])
        look.level[content] = low + rng.uniform(0, 0.7 if rng.uniform() < 0.8 else 1.0) * (high - low)


def _copy(look: Look, source: Tissue, to: Tissue, rng: np.random.Generator) -> None:
    look.hu[to] = look.hu[source] + rng.normal(0, 4)
    for table in (look.rough, look.patchy, look.fold):
        table[to] = table[source]
