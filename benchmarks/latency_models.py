"""The networks of latency.py with random weights, the same in every process, and their ONNX files."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import timm
import torch
from torch import Tensor, nn

from edgezsad.config import Model, load_profile
from edgezsad.model.detector import build_detector

PROFILE = Path(__file__).parents[1] / "configs" / "mini.yaml"


@dataclass(frozen=True)
class Network:
    """A network: title in tables, timm's backbone, image size; `ours` is False for the tower of other methods."""

    title: str
    backbone: str
    size: int
    ours: bool


def networks() -> dict[str, Network]:
    """Return the networks by name; small ones for tests begin with "tiny-"."""
    profile = load_profile(PROFILE)
    mini, paper = profile.model, profile.paper_graph
    return {
        "mini": Network("EdgeZSAD, mini profile", mini.backbone, mini.size, True),
        "paper": Network("EdgeZSAD, paper's graph", paper.backbone, paper.size, True),
        "tower": Network("CLIP ViT-L/14 image tower", "vit_large_patch14_clip_224", 518, False),
        "tiny-paper": Network("paper's graph, small", "tiny_vit_5m_224", 224, True),
        "tiny-tower": Network("image tower, small", "vit_tiny_patch16_224", 64, False),
    }


class Tower(nn.Module):
    """An image tower with a linear layer in place of the comparison with texts: a lower bound of its methods' cost."""

    def __init__(self, backbone: str, size: int):
        super().__init__()
        self.features = timm.create_model(backbone, pretrained=False, img_size=size, num_classes=0)
        self.head = nn.Linear(self.features.num_features, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Compute score and map of (1, 3, S, S) pixels 0..255."""
        tokens = self.head(self.features.forward_features((image - 127.5) / 68))
        side = int((tokens.shape[1] - 1) ** 0.5)
        return tokens[:, 0, 0], tokens[:, 1:].reshape(1, 1, side, side)


@torch.no_grad()
def network(name: str) -> nn.Module:
    """Build a network in eval mode."""
    chosen = networks()[name]
    torch.manual_seed(0)
    if not chosen.ours:
        return Tower(chosen.backbone, chosen.size).eval()
    profile = load_profile(PROFILE)
    model = profile.model if name == "mini" else profile.paper_graph
    settings = {"backbone": chosen.backbone, "size": chosen.size, "weights": "random"}
    detector = build_detector(Model.model_validate(model.model_dump() | settings))
    for name, parameter in detector.backbone.named_parameters():
        # They start at zero; all blocks would then share one table in the file.
        if name.endswith("attention_biases"):
            parameter.normal_(std=0.1)
    return detector


def files(name: str, folder: Path) -> dict[str, Path | str]:
    """Write the ONNX file of each precision unless it exists; return its path, or the reason why there is none."""
    from edgezsad.export.fp16 import to_fp16
    from edgezsad.export.int8 import to_int8
    from edgezsad.export.onnx_export import export_onnx

    chosen = networks()[name]
    full, half, int8 = (folder / f"{name}-{precision}.onnx" for precision in ("fp32", "fp16", "int8"))
    if not full.exists():
        export_onnx(network(name), full, chosen.size)
    if not half.exists():
        to_fp16(full, half)
    if not chosen.ours:
        return {"FP32": full, "FP16": half, "INT8": "not run: the tower is not quantised"}
    if not int8.exists():
        pixels = np.random.default_rng(0).integers(0, 256, (4, chosen.size, chosen.size, 3)).astype(np.uint8)
        to_int8(full, int8, list(pixels), exclude=())
    return {"FP32": full, "FP16": half, "INT8": int8}
