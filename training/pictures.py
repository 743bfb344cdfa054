"""Slices with labels drawn over them, for TensorBoard and contact sheets: NumPy only, one pixel a voxel."""

from __future__ import annotations

import numpy as np

from evaluation.pictures.picture import COLOURS
from training.arrays import Hu, Labels, Rgb

_WINDOW_HU = (-160.0, 240.0)


def slice_with_labels(hu: Hu, labels: Labels, opaque: float = 0.45) -> Rgb:
    """``hu`` (row, column) in an abdominal window, ``labels`` over it in the organs' colours."""
    low, high = _WINDOW_HU
    gray = np.clip((hu - low) / (high - low), 0, 1)[..., None] * np.float32(255)
    table = np.zeros((256, 3), np.float32)
    table[1 : len(COLOURS) + 1] = COLOURS
    share = np.where((labels > 0) & (labels <= len(COLOURS)), opaque, 0)[..., None]
    mixed: Rgb = np.rint(gray * (1 - share) + table[labels] * share).astype(np.uint8)
    return mixed


def fullest_slice(labels: Labels) -> int:
    """The axial slice that shows most labels, then most of them; the middle one of an empty map."""
    if not labels.any():
        return int(labels.shape[0]) // 2
    kinds = np.array([len(np.unique(slice_)) for slice_ in labels])
    return int(np.lexsort((np.count_nonzero(labels, axis=(1, 2)), kinds))[-1])


def row_of(pictures: list[Rgb], gap: int = 4) -> Rgb:
    """Pictures beside each other, top aligned, on black."""
    height = max(picture.shape[0] for picture in pictures)
    parts = []
    for picture in pictures:
        part = np.zeros((height, picture.shape[1] + gap, 3), np.uint8)
        part[: picture.shape[0], : picture.shape[1]] = picture
        parts.append(part)
    return np.concatenate(parts, 1)


def column_of(rows: list[Rgb], gap: int = 4) -> Rgb:
    """Pictures below each other, left aligned, on black."""
    width = max(row.shape[1] for row in rows)
    parts = []
    for row in rows:
        part = np.zeros((row.shape[0] + gap, width, 3), np.uint8)
        part[: row.shape[0], : row.shape[1]] = row
        parts.append(part)
    return np.concatenate(parts)
