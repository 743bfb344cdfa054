"""The files of a run folder (``training.learning.checkpoint`` says what they hold), and how they are written and read.

Without torch: who only looks at a run need not wait for it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

RECIPE, CHECKPOINT, WEIGHTS, LOG = "recipe.toml", "checkpoint.safetensors", "weights.safetensors", "log.jsonl"
BEST = "best"


def replace_file(path: Path, content: bytes) -> None:
    """Write beside ``path``, then rename: ``path`` is never half a file, and a full disk leaves the old one."""
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def read_log(path: Path) -> list[dict[str, object]]:
    """The rows of a log; a last line that a crash cut short is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows
