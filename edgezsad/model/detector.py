"""The detector, from pixels to a score and a map, and its checkpoint.

A checkpoint is one safetensors file: the weights of the readout and of tuned stages of the backbone, with a header that
holds everything else needed to rebuild the detector, among it the hash of the backbone's own weights.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError, safe_open
from torch import Tensor, cat, nn

from edgezsad.config import Model, ReadoutConfig
from edgezsad.errors import InputError, one_line
from edgezsad.files import save_tensors, verified
from edgezsad.model import THRESHOLD
from edgezsad.model.backbone import Backbone, reset_attention_bias_cache, sha256_of_tensors
from edgezsad.model.edgeglr import EdgeGLR, GlobalLocalReadout, Output, SpatialHead, rotate180
from edgezsad.model.self_reference import ContextHead, SelfReferenceReadout

HEADER = "edgezsad"  # key of the description in the header of a checkpoint
TUNED = "backbone."  # prefix of the names of tuned backbone weights in a checkpoint


class CheckpointInfo(BaseModel):
    """Header of a checkpoint; an image with a score (logit) at or above `threshold` counts as defective."""

    model_config = ConfigDict(extra="forbid")

    model: Model
    backbone_sha256: str
    profile: str
    seed: int
    source_sha256: str
    threshold: float


@dataclass(frozen=True)
class Checkpoint:
    """Description, weights of the readout, and tuned weights of the backbone (often none)."""

    info: CheckpointInfo
    weights: dict[str, Tensor]
    tuned: dict[str, Tensor]


class DetectorModule(nn.Module):
    """Backbone and readout, in eval mode; `tta` is the test-time augmentation, "none" or "rot180"."""

    def __init__(self, backbone: Backbone, readout: GlobalLocalReadout, size: int, tta: str = "none"):
        super().__init__()
        self.backbone, self.readout, self.size, self.tta = backbone, readout, size, tta
        self.eval()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Score (B, 3, S, S) RGB pixel values 0..255: score (B,) and map (B, 1, h, w), raw logits."""
        output = self.output(image)
        return output.score, output.map

    def output(self, image: Tensor) -> Output:
        """Score images as `forward` does, and return both heads' parts of the score too."""
        return self.readout(*extract_features(self.backbone, image, self.tta))

    def sha256(self) -> str:
        return sha256_of_tensors(self.state_dict())


def extract_features(
    backbone: Callable[[Tensor], list[Tensor]], image: Tensor, tta: str
) -> tuple[list[Tensor], list[Tensor] | None]:
    """Compute the features of (B, 3, S, S) images and, with `tta` "rot180", of the rotated images in the same pass."""
    if tta == "none":
        return backbone(image), None
    both = backbone(cat([image, rotate180(image)]))
    return [one[: len(image)] for one in both], [one[len(image) :] for one in both]


def build_readout(
    channels: tuple[int, ...], strides: tuple[int, ...], config: ReadoutConfig, size: int
) -> GlobalLocalReadout:
    """Build an untrained readout of the configured kind for feature maps of images of `size` pixels."""
    if config.context:
        head: nn.Module = ContextHead(channels, strides, config, size)
    else:
        head = SpatialHead(channels, strides, config.local_channels)
    if config.kind == "self_reference":
        return SelfReferenceReadout(channels, head, config, size)
    return EdgeGLR(channels, head, config)


def build_detector(model: Model, backbone: Backbone | None = None) -> DetectorModule:
    """Build a detector with an untrained readout; `backbone`, if given, is shared and not loaded again."""
    backbone = backbone or Backbone(model.backbone, model.weights, model.strides)
    readout = build_readout(backbone.channels, backbone.strides, model.readout, model.size)
    return DetectorModule(backbone, readout, model.size, model.tta)


def save_checkpoint(
    path: Path | str, readout: nn.Module, info: CheckpointInfo, tuned: dict[str, Tensor] | None = None
) -> Path:
    """Write a checkpoint atomically; `tuned` are backbone weights by their names in it."""
    tensors = readout.state_dict() | {TUNED + name: tensor for name, tensor in (tuned or {}).items()}
    save_tensors(path, tensors, {HEADER: info.model_dump_json()})
    return Path(path)


def read_checkpoint(path: Path | str) -> Checkpoint:
    """Read a checkpoint without building the detector; raises InputError if it is missing or damaged."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: missing checkpoint; train one with `make book` or notebook 03_training")
    try:
        with safe_open(verified(path), framework="pt") as stream:
            info = CheckpointInfo.model_validate_json((stream.metadata() or {})[HEADER])
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise InputError(f"{path}: not a checkpoint of this package ({one_line(error)}); train it again") from None
    tuned = {name.removeprefix(TUNED): tensors.pop(name) for name in list(tensors) if name.startswith(TUNED)}
    return Checkpoint(info, tensors, tuned)


def load_detector(
    path: Path | str, backbone: Backbone | None = None, expected: Model | None = None
) -> tuple[DetectorModule, CheckpointInfo]:
    """Build the detector of a checkpoint; InputError if it is damaged or made for another model than `expected`.

    Seeds share `backbone` if given; a detector with tuned weights gets a copy.
    """
    checkpoint = read_checkpoint(path)
    models = checkpoint.info.model, expected or checkpoint.info.model
    made_for, wanted = (f"{one.backbone} at {one.size} px, strides {one.strides}" for one in models)
    if made_for != wanted:
        raise InputError(f"{path}: made for {made_for}, expected {wanted}; train again or change the profile")
    try:
        detector = build_detector(checkpoint.info.model, backbone)
        if detector.backbone.sha256() != checkpoint.info.backbone_sha256:
            name = detector.backbone.name
            raise InputError(f"{path}: trained on other weights of {name}; train again with the installed ones")
        if checkpoint.tuned:
            detector.backbone = copy.deepcopy(detector.backbone)
            if unknown := detector.backbone.load_state_dict(checkpoint.tuned, strict=False).unexpected_keys:
                raise RuntimeError(f"unknown {unknown[0]}")
        detector.readout.load_state_dict(checkpoint.weights, strict=True)
    # Some of them by timm; an `InputError` is none of them.
    except (RuntimeError, AttributeError, TypeError, AssertionError, LookupError) as error:
        raise InputError(f"{path}: weights do not fit ({one_line(error)}); train again") from None
    reset_attention_bias_cache(detector)
    return detector, checkpoint.info


def graph_metadata(detector: DetectorModule, info: CheckpointInfo) -> dict[str, str]:
    """Metadata of a graph exported from a checkpoint's detector."""
    preprocessing = f"RGB, resized to {detector.size} x {detector.size}, 0..255, NCHW; normalised inside"
    hashes = {"model_sha256": detector.sha256(), "source_sha256": info.source_sha256}
    return {**hashes, THRESHOLD: repr(info.threshold), "preprocessing": preprocessing}
