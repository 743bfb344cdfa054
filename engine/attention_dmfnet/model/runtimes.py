"""The runtimes by name, and what installs them."""

from typing import Final

NAMES: Final = {
    "openvino": "OpenVINO",
    "onnxruntime": "ONNX Runtime",
    "tensorrt": "TensorRT",
    "tensorrt_rtx": "TensorRT-RTX",
}
"""What people call each Python module that computes networks."""

INSTALL: Final = {
    **{extra: f'pip install "attention-dmfnet[{extra}]"' for extra in ("cpu", "cuda", "tensorrt")},
    "tensorrt_rtx": "pip install tensorrt-rtx-cu13",
}
"""The command for each extra of this distribution; TensorRT-RTX, which tests build plans with, is none of its own."""
