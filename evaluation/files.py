"""Files that an evaluation writes: whole, with their folder, or with one sentence about why not."""

from pathlib import Path

from evaluation.errors import EvaluationError


def write_text(file: Path, text: str) -> None:
    """Raises ``EvaluationError``, with the file's name."""
    write_bytes(file, text.encode())


def write_bytes(file: Path, content: bytes) -> None:
    """Raises ``EvaluationError``, with the file's name."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    except OSError as error:
        raise EvaluationError(f"cannot write {file}: {error.strerror}") from error
