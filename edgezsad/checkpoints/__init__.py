"""The committed checkpoint: what `edgezsad predict` and `edgezsad evaluate` use where no other is named.

`photographs.safetensors` holds the readout, `photographs.onnx` the same detector whole (backbone and readout, large
weights stored in FP16 and computed with in FP32), so that a score needs neither PyTorch nor a network. What it was
trained on, and what it is good for, says `book/model-card.md`.
"""

from pathlib import Path

CHECKPOINT = Path(__file__).with_name("photographs.safetensors")
GRAPH = Path(__file__).with_name("photographs.onnx")

UNSEEN = ("AWS-LookoutVision", "BSData", "MVTec-AD")
"""Sets of photographs that it is tested on and was never trained on; the targets of `configs/checkpoint.yaml`."""
SEEN = ("PIPED", "PV-Vision-EL")
"""Sets of photographs that it was trained on, test images too."""
