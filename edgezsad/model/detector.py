"""The detector: backbone and readout, from pixel values to a score and a map; and its checkpoint.

A checkpoint is one safetensors file with the readout's weights, and with those of the backbone that were tuned; the
metadata inside says which backbone it reads, with the hash of that backbone's own weights, and everything else needed
to build the detector again.
"""

import copy
import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from edgezsad.config import Model
from edgezsad.errors import InputError
from edgezsad.files import save_tensors
from edgezsad.model.backbone import Backbone, reset_attention_bias_cache, sha256_of_tensors
from edgezsad.model.readout import EdgeGLR
from edgezsad.model.turning import look

TUNED = "backbone."
"""What the names of tuned weights of the backbone begin with in a checkpoint."""


class CheckpointInfo(BaseModel):
    """What a checkpoint says of itself.

    `threshold` is a score (logit): at or above it, an image is called defective. It comes from held-out source images.
    """

    model_config = ConfigDict(extra="forbid")

    model: Model
    backbone_sha256: str
    profile: str
    seed: int
    source_sha256: str
    threshold: float


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's description, the readout's weights, and the backbone's that were tuned (often none)."""

    info: CheckpointInfo
    weights: dict[str, Tensor]
    tuned: dict[str, Tensor]


class Detector(nn.Module):
    """Backbone and readout; in eval mode unless asked otherwise.

    `forward` takes (B, 3, S, S) RGB pixel values 0..255 as float32 and gives the score (B,) and the map (B, 1, h, w),
    both raw logits. With `turned`, each image is looked at twice (`edgezsad.model.turning`).
    """

    def __init__(self, backbone: Backbone, readout: EdgeGLR, size: int, turned: bool = False):
        super().__init__()
        self.backbone, self.readout, self.size, self.turned = backbone, readout, size, turned
        self.eval()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Score and map of images."""
        output = self.readout(*look(self.backbone, image, self.turned))
        return output.score, output.map

    def sha256(self) -> str:
        """Hash of every weight of the detector."""
        return sha256_of_tensors(self.state_dict())


def build_detector(model: Model, backbone: Backbone | None = None) -> Detector:
    """A detector with an untrained readout.

    Args:
        model: configuration.
        backbone: a backbone already loaded for this configuration, to share among seeds; made when left out.
    """
    backbone = backbone or Backbone(model.backbone, model.weights, model.strides)
    readout = EdgeGLR(backbone.channels, backbone.strides, model.readout, model.size)
    return Detector(backbone, readout, model.size, model.tta == "rot180")


def save_checkpoint(
    path: Path | str, readout: EdgeGLR, info: CheckpointInfo, tuned: dict[str, Tensor] | None = None
) -> Path:
    """Write a checkpoint atomically; returns `path`.

    Args:
        path: of the file.
        readout: its weights are written.
        info: what the checkpoint says of itself.
        tuned: weights of the backbone that are no longer its own, by their names in it.
    """
    every = readout.state_dict() | {TUNED + name: tensor for name, tensor in (tuned or {}).items()}
    save_tensors(path, every, {"edgezsad": info.model_dump_json()})
    return Path(path)


def read_checkpoint(path: Path | str) -> Checkpoint:
    """Read a checkpoint without building anything.

    Raises:
        InputError: missing, damaged, or not a checkpoint of this package.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint; train one with `make book` or notebook 03_training")
    try:
        with safe_open(path, framework="pt") as stream:
            described = json.loads((stream.metadata() or {})["edgezsad"])
            # Checkpoints of earlier versions have a flag instead.
            if "turned" in described["model"]:
                described["model"]["tta"] = "rot180" if described["model"].pop("turned") else "none"
            info = CheckpointInfo.model_validate(described)
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, ValidationError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path}: not a checkpoint of this package ({reason}); train it again") from None
    tuned = {name.removeprefix(TUNED): tensors.pop(name) for name in list(tensors) if name.startswith(TUNED)}
    return Checkpoint(info, tensors, tuned)


def load_detector(
    path: Path | str, backbone: Backbone | None = None, expected: Model | None = None
) -> tuple[Detector, CheckpointInfo]:
    """Build the detector that a checkpoint describes.

    Args:
        path: the checkpoint.
        backbone: a backbone already loaded, to share among seeds; made when left out. A checkpoint that tuned it gets
            a copy of its own.
        expected: the configuration that the caller works with, when there is one.

    Raises:
        InputError: the checkpoint belongs to another backbone or configuration, or its weights do not fit.
    """
    checkpoint = read_checkpoint(path)
    model = checkpoint.info.model
    if expected is not None and (model.backbone, model.strides, model.size) != (
        expected.backbone,
        expected.strides,
        expected.size,
    ):
        raise InputError(
            f"{path}: made for {model.backbone} at {model.size} px, strides {model.strides}, not for "
            f"{expected.backbone} at {expected.size} px, strides {expected.strides}; train again or change the profile"
        )
    detector = build_detector(model, backbone)
    if detector.backbone.sha256() != checkpoint.info.backbone_sha256:
        raise InputError(f"{path}: trained on other weights of {model.backbone}; train again with the installed ones")
    try:
        if checkpoint.tuned:
            detector.backbone = copy.deepcopy(detector.backbone)
            missing = detector.backbone.load_state_dict(checkpoint.tuned, strict=False)
            if missing.unexpected_keys:
                raise RuntimeError(f"unknown {missing.unexpected_keys[0]}")
        detector.readout.load_state_dict(checkpoint.weights, strict=True)
    except RuntimeError as error:
        raise InputError(f"{path}: weights do not fit ({' '.join(str(error).split())[:120]}); train again") from None
    reset_attention_bias_cache(detector)
    return detector, checkpoint.info
