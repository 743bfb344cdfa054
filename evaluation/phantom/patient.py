"""Who is being painted: the sizes, the tissue densities and the bends that one seed stands for."""

import math
from dataclasses import dataclass

import numpy as np
from attention_dmfnet.geometry import Triple

from evaluation.phantom.shapes import Field, Waves, stream

PORTAL_VENOUS_HU = {
    "air": -1000.0,
    "bladder wall": 45.0,
    "bile": 10.0,
    "blood": 152.0,
    "bone": 190.0,
    "bowel wall": 88.0,
    "cortex": 620.0,
    "disc": 85.0,
    "esophagus": 48.0,
    "fat": -104.0,
    "fluid": 16.0,
    "gas": -930.0,
    "aorta": 160.0,
    "inferior vena cava": 132.0,
    "kidney": 168.0,
    "liver": 110.0,
    "lung": -850.0,
    "adrenal gland": 84.0,
    "muscle": 58.0,
    "pancreas": 95.0,
    "portal vein": 168.0,
    "skin": 10.0,
    "spleen": 122.0,
    "stool": -40.0,
}
"""HU of the tissues about 70 s after intravenous contrast; a patient's own values scatter around them."""

_SCATTER_HU = {
    "liver": 9.0,
    "spleen": 7.0,
    "kidney": 14.0,
    "aorta": 14.0,
    "inferior vena cava": 14.0,
    "pancreas": 7.0,
    "bone": 30.0,
}


@dataclass(frozen=True, slots=True, eq=False)
class Patient:
    """One patient. ``scale_xyz`` stretches the anatomy, ``bends`` deform it smoothly, ``fat_mm`` lies under the skin.

    The origin of the patient's coordinates lies between the kidneys, before the first lumbar disc: x grows to the
    left, y to the back, z to the head (mm).
    """

    seed: int
    scale_xyz: Triple
    fat_mm: float
    bends: tuple[tuple[Waves, Waves], ...]
    hu: dict[str, float]

    @staticmethod
    def from_seed(seed: int) -> "Patient":
        """The patient that ``seed`` stands for, always the same one."""
        rng = stream(seed, "patient")
        breadth = rng.normal(1.0, 0.035)
        hu = {
            tissue: value + rng.normal(0, _SCATTER_HU.get(tissue, 0.02 * abs(value)))
            for tissue, value in PORTAL_VENOUS_HU.items()
        }
        return Patient(
            seed,
            (breadth, breadth * rng.normal(1.0, 0.025), rng.normal(1.0, 0.03)),
            float(np.clip(rng.lognormal(math.log(17), 0.35), 8, 38)),
            tuple(
                (
                    Waves.draw(rng, (140, 300), 2.6),
                    Waves.draw(rng, (45, 90), 0.9, count=6),
                )
                for _ in range(3)
            ),
            hu,
        )

    def stream(self, name: str) -> np.random.Generator:
        """This patient's random numbers for one structure."""
        return stream(self.seed, name)

    def size(self, name: str, spread: float = 0.06) -> float:
        """A factor around 1 by which this patient's structure is larger than usual."""
        return float(np.exp(np.clip(self.stream(f"size of {name}").normal(0, spread), -2 * spread, 2 * spread)))

    def shift(self, name: str, spread_mm: float = 3.0) -> Triple:
        """Where this patient's structure lies, relative to the usual place (mm, LPS)."""
        rng = self.stream(f"place of {name}")
        x, y, z = (float(np.clip(rng.normal(0, spread_mm), -2 * spread_mm, 2 * spread_mm)) for _ in range(3))
        return (x, y, z)

    def anatomy(self, x: Field, y: Field, z: Field) -> tuple[Field, Field, Field]:
        """Where these positions of the scan (LPS, mm) lie in the undeformed anatomy (mm)."""
        u, v, w = (p / np.float32(scale) for p, scale in zip((x, y, z), self.scale_xyz, strict=True))
        a, b, c = (
            position + slow.at(u, v, w) + fast.at(u, v, w)
            for position, (slow, fast) in zip((u, v, w), self.bends, strict=True)
        )
        return a, b, c
