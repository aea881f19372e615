"""The model: a timm backbone, the EdgeGLR readout, and the detector that joins them."""
