"""JSON that others wrote, into a type: the value or one error in one line, whatever the bytes are."""

from __future__ import annotations

from typing import TypeVar

import msgspec

_Type = TypeVar("_Type")
_MOST_LETTERS = 400


class JsonError(ValueError):
    """Bytes that are no JSON, or no JSON of the type that is wanted: why, and where in it."""


def decode_json(content: bytes, type: type[_Type]) -> _Type:  # msgspec's own name for it
    """``content`` as ``type``. Raises ``JsonError``."""
    try:
        return msgspec.json.decode(content, type=type)
    except UnicodeDecodeError as error:
        raise JsonError(f"byte {error.start} is not UTF-8") from error
    except RecursionError as error:
        raise JsonError("it is nested too deeply") from error
    except (msgspec.MsgspecError, ValueError) as error:
        raise JsonError(one_line(str(error))) from error


def one_line(text: str) -> str:
    """``text``, which may repeat what a file says, without line breaks and not longer than a sentence."""
    text = " ".join(text.split())
    return text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]}…"
