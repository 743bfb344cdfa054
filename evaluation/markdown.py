"""Tables as Markdown has them."""

from collections.abc import Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The first column is text and flush left, the others are figures and flush right; ends without a line break."""
    lines = [header, ["---", *("---:" for _ in header[1:])], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def number(value: float | None, digits: int = 1, unknown: str = "not measured") -> str:
    return unknown if value is None else f"{value:,.{digits}f}"
