"""What is wrong with a file of a data set, and what its owner can do about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from attention_dmfnet.files.cases import printable


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """``what`` is wrong with ``file`` (or folder), as a clause without a full stop; ``remedy`` says what to do."""

    file: Path
    what: str
    remedy: str

    def __str__(self) -> str:
        return printable(f"{self.file}: {self.what}; {self.remedy}")
