"""What a mistyped word was meant to be."""

from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``; did you mean X?`` for the nearest of the ``known`` words, or nothing where none is near."""
    # only who mistypes waits for it
    import difflib

    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.7)
    # a word that was cut short is far away by its letters: "--over" for "--overwrite"
    begun = [name for name in by_lower if len(word.strip("-")) > 1 and name.startswith(word.lower())]
    best = begun if len(begun) == 1 else near
    return f"; did you mean {by_lower[best[0]]}?" if best else ""
