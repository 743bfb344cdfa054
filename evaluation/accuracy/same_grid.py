"""Two volumes can be compared only voxel by voxel: the check that they may be."""

from attention_dmfnet.geometry import Volume

from evaluation.errors import EvaluationError

# more than any header's rounding, less than what a border of an organ could notice
_TOLERANCE_MM = 0.1


def require_same_grid(first: Volume, first_name: str, second: Volume, second_name: str) -> None:
    """Raises ``EvaluationError``, naming both, unless every voxel of one lies on the same voxel of the other."""
    if first.geometry.matches(second.geometry, _TOLERANCE_MM):
        return
    raise EvaluationError(
        f"{first_name} and {second_name} lie on different grids ({_grid(first)} against {_grid(second)}); "
        "a prediction must have the size, spacing, origin and direction of its scan"
    )


def _grid(volume: Volume) -> str:
    geometry = volume.geometry
    size = "x".join(str(voxels) for voxels in geometry.shape_zyx[::-1])
    spacing = "x".join(f"{mm:.4g}" for mm in geometry.spacing_zyx[::-1])
    origin = ", ".join(f"{mm:.4g}" for mm in geometry.origin_lps)
    directions = "; ".join(",".join(f"{along:.3g}" for along in axis) for axis in geometry.axes_lps[::-1])
    return f"{size} voxels of {spacing} mm from ({origin}) along {directions}"
