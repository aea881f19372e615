"""Export a detector to ONNX (FP32, FP16, INT8), DLC and TensorRT, and check that devices support the graph."""
