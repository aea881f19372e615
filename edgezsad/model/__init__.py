"""Backbone, readouts and detector, and the paths of the shipped checkpoint.

Importing this package does not import PyTorch, so that `predict` finds the shipped graph without it.
"""

from pathlib import Path

SHIPPED = Path(__file__).resolve().parents[1] / "checkpoints"
CHECKPOINT = SHIPPED / "photographs.safetensors"
"""The shipped checkpoint: the readout's weights (see `book/model-card.md`)."""
GRAPH = SHIPPED / "photographs.onnx"
"""The same detector with its backbone as one graph: large weights are stored in FP16 and computed with in FP32."""

THRESHOLD = "threshold"
"""Metadata key of the score (logit) at or above which an image counts as defective, in checkpoints and graphs."""

SEEN = ("PIPED", "PV-Vision-EL")  # sets of photographs that the shipped checkpoint was trained on, test images too
UNSEEN = ("AWS-LookoutVision", "BSData", "MVTec-AD")
"""Sets of photographs that it is tested on and was never trained on; the targets of `configs/checkpoint.yaml`."""
