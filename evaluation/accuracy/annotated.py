"""Which organs are to be scored: those that were asked for, and that the reference's author has drawn."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attention_dmfnet.files.cases import stem
from attention_dmfnet.json_text import decode_json, one_line

from evaluation.accuracy.flare22 import LABELS, ORGAN_CODES
from evaluation.errors import ArgumentsError, EvaluationError
from evaluation.organs import ORGANS
from evaluation.text_file import decode_text

FOLDER_SIDECAR = "annotated.json"


def parse_organs(text: str) -> frozenset[int]:
    """The labels in a list such as ``liver,RK,13``: names, organisers' codes or numbers.

    Raises ``ArgumentsError`` for what is none of them.
    """
    labels = set()
    for word in filter(None, (part.strip() for part in text.split(","))):
        label = _label(word)
        if label is None:
            raise ArgumentsError(f"--organs: {word!r} is no organ; choose from {', '.join(ORGANS)}, or 1 to 13")
        labels.add(label)
    if not labels:
        raise ArgumentsError("--organs is empty; name at least one organ")
    return frozenset(labels)


def parse_merges(texts: Sequence[str]) -> dict[int, int]:
    """Label -> the label it counts as, from texts such as ``duodenum=stomach``: organs that a reference draws as one.

    Raises ``ArgumentsError`` for anything else, for an organ merged twice, or merged into one that is merged itself.
    """
    merges: dict[int, int] = {}
    for text in texts:
        labels = [_label(word.strip()) for word in text.split("=")]
        if len(labels) != 2 or labels[0] is None or labels[1] is None or labels[0] == labels[1]:
            raise ArgumentsError(f"--merge: {text!r} is not of the form organ=other-organ, such as duodenum=stomach")
        if labels[0] in merges:
            raise ArgumentsError(f"--merge: {ORGANS[labels[0] - 1]} is merged twice; name each organ once")
        merges[labels[0]] = labels[1]
    if set(merges) & set(merges.values()):
        raise ArgumentsError("--merge: an organ is merged into one that is merged itself; name the last one for both")
    return merges


def annotated_labels(reference: Path) -> frozenset[int]:
    """The labels that the author of ``reference`` has drawn: all, unless a sidecar says otherwise.

    A sidecar is a JSON file beside the reference, ``CASE.json`` or, for a whole folder, ``annotated.json``:
    ``{"annotated": ["liver", "RK", 13]}``.

    Raises ``EvaluationError`` if it cannot be understood.
    """
    for sidecar in (reference.with_name(f"{stem(reference)}.json"), reference.with_name(FOLDER_SIDECAR)):
        if sidecar.is_file():
            return _read(sidecar)
    return frozenset(LABELS)


def _read(sidecar: Path) -> frozenset[int]:
    try:
        content: Any = decode_json(decode_text(sidecar.read_bytes()).encode(), Any)
    except OSError as error:
        raise EvaluationError(f"cannot read {sidecar}: {error.strerror}") from error
    except ValueError as error:
        raise EvaluationError(f"cannot read {sidecar}: {error}") from error
    names = content.get("annotated") if isinstance(content, dict) else None
    if not isinstance(names, list) or len(content) != 1:
        raise EvaluationError(f'{sidecar} must hold {{"annotated": [organs]}} and nothing else')
    labels = [_label(str(name)) for name in names]
    if None in labels:
        unknown = one_line(str(names[labels.index(None)]))
        raise EvaluationError(f"{sidecar}: {unknown!r} is no organ; choose from {', '.join(ORGANS)}, or 1 to 13")
    return frozenset(label for label in labels if label is not None)


def _label(word: str) -> int | None:
    lower = word.lower()
    for names in (ORGANS, ORGAN_CODES, LABELS):
        known = [str(name).lower() for name in names]
        if lower in known:
            return known.index(lower) + 1
    return None
