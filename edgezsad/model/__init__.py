"""Backbone, readouts and detector, and the paths of the shipped checkpoint.

Importing this package does not import PyTorch, so that `predict` finds the shipped graph without it.
"""

from pathlib import Path

SHIPPED = Path(__file__).resolve().parents[1] / "checkpoints"
CHECKPOINT = SHIPPED / "photographs.safetensors"
"""The shipped checkpoint: the readout's weights (see `book/model-card.md`)."""
GRAPH = SHIPPED / "photographs.onnx"
"""The same detector with its backbone as one graph: large weights are stored in FP16 and computed with in FP32."""

REFERENCES = SHIPPED / "references.onnx"
"""The same detector with a comparison with reference images; `edgezsad.references` adds those of a part."""

THRESHOLD = "threshold"
"""Metadata key of the score (logit) at or above which an image counts as defective, in checkpoints and graphs."""

CALIBRATION = "calibration"
"""Metadata key of the bound on false alarms that the threshold keeps; a graph without it gives no verdicts."""

BITS = "bits"
"""Metadata key of the bits in a part's 16-bit reference images."""

# Comparison with references (`edgezsad.model.references`, `edgezsad.references`).
MAP_WEIGHT = 0.2  # of the detector's map (logits) in a squared distance
DETAIL_WEIGHT, DETAIL_SHARE = 1.2, 0.05  # of what that map, twice as fine, adds within a patch, and to all of the map
STRIDE_WEIGHTS = (0.4, 1.15, 1.15)  # of the features of each stride, finest first
OWN_WEIGHT = 0.25  # of the distance to the nearest patch of the same image
PATCH_CHANNELS, PATCH_SIDE = 472, 20  # of the shipped graph's features, and of their grid
PEAK_CELLS = 4  # patches whose mean distance is the image score: one in a hundred
SMALLEST = 1e-4  # squared distance

SEEN = ("PIPED", "PV-Vision-EL")  # sets of photographs that the shipped checkpoint was trained on, test images too
UNSEEN = ("AWS-LookoutVision", "BSData", "KolektorSDD", "ELPV", "RSDDs-tiles", "MagneticTile", "DeepPCB",
          "CrackForest-tiles", "MVTec-AD")  # fmt: skip
"""Sets of photographs that it is tested on and was never trained on; the recipe was chosen on all but the last."""
