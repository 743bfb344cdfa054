"""From a training run to the files that the engine reads: ONNX, TensorRT plans, and the proof that they are equal."""
