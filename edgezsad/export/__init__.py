"""Export: one ONNX graph from a detector, its FP16 twin, and checks that devices can take it."""
