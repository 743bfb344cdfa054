"""The lean runtime: a CT in, thirteen organs out, on the CT's own grid.

Reads ``models/manifest.json`` and nothing else of the project. Never imports torch, onnx, scipy, monai or numba.
"""
