"""What a stored audit was made by. One made by anything else says nothing about a body as it is drawn today."""

from __future__ import annotations

import hashlib
from pathlib import Path

from attention_dmfnet import adult_volumes

HERE = Path(__file__).parent
_NAMES = (
    "anatomy", "audit", "audit_checks", "audit_limits", "bodies", "completion", "diaphragm", "esophagus",
    "great_vessels", "liver_veins", "located", "structure_names", "tissue", "tissues_by_hu", "vessel_courses",
    "vessel_neighbours",
)  # fmt: skip
"""``bodies``, which draws and audits, and all of the painter that it imports, directly or not."""
SOURCES = (Path(adult_volumes.__file__), *(HERE / f"{name}.py" for name in _NAMES))
"""The code itself is hashed: a version number beside it would be forgotten. To audit once too often costs little."""


def audit_stamp(courses: Path) -> str:
    """A hash of the audit's limits and checks, of what draws vessels and diaphragm, and of the file ``courses``.

    Without that file vessels are not drawn, which is a stamp of its own.
    """
    digest = hashlib.sha256()
    for path in (*SOURCES, courses):
        digest.update(hashlib.sha256(path.read_bytes()).digest() if path.exists() else b"none")
    return digest.hexdigest()[:16]
