"""What is wrong with a file of a data set, and what its owner can do about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from attention_dmfnet.files.cases import printable


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """``what`` is wrong with ``file`` (or folder), as a clause without a full stop; ``remedy`` says what to do.

    ``case`` is the one that is left out for it. None: the case whose scan or label map ``file`` is, and where it is
    neither, all cases. Empty: no case, as the file is only wrong about one that is not there.
    """

    file: Path
    what: str
    remedy: str
    case: str | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return printable(f"{self.file}: {self.what}; {self.remedy}")
