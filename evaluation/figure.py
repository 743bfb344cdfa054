"""Matplotlib, imported when a plot is really drawn, and without its window system."""

import io
from typing import Any

from evaluation.errors import EvaluationError


def new_figure(width_in: float, height_in: float) -> Any:
    """An empty ``matplotlib.figure.Figure``. Raises ``EvaluationError`` if Matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise EvaluationError('plots need Matplotlib: pip install "attention-dmfnet[evaluation]"') from error
    return Figure(figsize=(width_in, height_in), layout="constrained")


def as_png(figure: Any) -> bytes:
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120)
    return image.getvalue()


def colour_of(name: str, names: list[str]) -> Any:
    """Of a palette of 20, in the order of ``names``."""
    from matplotlib import colormaps

    return colormaps["tab20"](names.index(name) % 20)
