"""PatchCore of anomalib with the shipped detector's backbone; times of both methods (see `references.py`)."""

import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from parts import Part, draws

from edgezsad.data.images import load
from edgezsad.errors import InputError
from edgezsad.export.cost import count_cost
from edgezsad.model import CHECKPOINT
from edgezsad.model.backbone import Backbone
from edgezsad.model.detector import load_detector
from edgezsad.model.references import ReferenceDetector
from edgezsad.references import MOST_PATCHES, adapt
from edgezsad.scoring.onnx_scorer import OnnxScorer, as_tensor, cores

PATCHCORE = {"patchcore_draws": 1, "patchcore_of_many": 4}
STRIDES, RATIOS = (8, 16), (0.1, 1.0)  # of anomalib's default layers and coreset; 1.0 keeps all patches
FITTED = 8  # references of which times are measured


class PatchCore:
    """PatchCore of anomalib, with the weights of the shipped detector's backbone."""

    def __init__(self) -> None:
        try:
            from anomalib.models.image.patchcore.torch_model import PatchcoreModel
        except ImportError as error:
            raise InputError(f"--patchcore: {error}; pip install anomalib==2.7.0 into another folder") from None
        detector, _ = load_detector(CHECKPOINT)
        self.size, self.backbone = detector.size, Backbone(detector.backbone.name, "package", STRIDES)
        layers = self.backbone.features.feature_info.module_name()
        self.model = PatchcoreModel(layers, self.backbone.name, pre_trained=False)
        self.model.feature_extractor.feature_extractor.load_state_dict(self.backbone.features.state_dict())

    def prepare(self, path: Path) -> torch.Tensor:
        """Read an image and normalise it for the backbone."""
        return (torch.from_numpy(as_tensor(load(path, self.size), self.size)) - self.backbone.mean) / self.backbone.std

    def embed(self, path: Path) -> torch.Tensor:
        """Compute the features (N, C) of an image, as in training."""
        self.model.train()(self.prepare(path))
        return self.model.embedding_store.pop()

    def fit(self, features: list[torch.Tensor], ratio: float) -> None:
        """Fill the memory bank with a share of the references' patches."""
        self.model.embedding_store, self.model.memory_bank = list(features), torch.vstack(features)
        if ratio < 1:
            self.model.subsample_embedding(ratio)
        self.model.eval()

    def score(self, features: torch.Tensor) -> float:
        """Score an image by its features, as the model does in evaluation."""
        nearest, rows = self.model.nearest_neighbors(features, 1)
        return float(self.model.compute_anomaly_score(nearest.view(1, -1), rows.view(1, -1), features))

    @torch.inference_mode()
    def scores_of(self, part: Part, settings: dict[str, Any]) -> dict[str, Any]:
        """Compute scores of a part's tested images for the first draws of 4 and of 8 references."""
        pool, tested = [self.embed(path) for path in part.pool], [self.embed(path) for path in part.tested]
        found: dict[str, Any] = {}
        for count, ratio in product((4, 8), RATIOS):
            found[f"k{count}, {ratio}"] = scores = []
            for draw, rows in enumerate(draws(count, len(pool), settings["patchcore_draws"])):
                # Its random projection is scikit-learn's.
                torch.manual_seed(draw)
                np.random.seed(draw)
                self.fit([pool[row] for row in rows], ratio)
                scores.append([self.score(one) for one in tested])
        return found


@torch.inference_mode()
def timed(patchcore: bool, paths: list[Path]) -> dict[str, float]:
    """Time a fit to the first images, reading included, then the score of each further one; size and added memory."""
    torch.set_num_threads(cores())
    model: Any = PatchCore() if patchcore else None
    # Both have imported PyTorch here, which a part's detector does not need.
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        if patchcore:
            model.fit([model.embed(path) for path in paths[:FITTED]], RATIOS[0])
        else:
            part = adapt(paths[:FITTED], Path(folder) / "part.onnx").path
        found = {"fit_seconds": time.perf_counter() - start}
        tensors = model.model.state_dict().values() if patchcore else ()
        found["megabytes"] = sum(one.nbytes for one in tensors) / 1e6 if patchcore else part.stat().st_size / 1e6
        scorer: Any = None if patchcore else OnnxScorer(part, cores())
    start = time.perf_counter()
    for path in paths[FITTED:]:
        _ = model.model(model.prepare(path)) if patchcore else scorer.score(load(path, scorer.size))
    found["images_per_second"] = len(paths[FITTED:]) / (time.perf_counter() - start)
    return found | {"added_memory_megabytes": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3}


def times(paths: list[Path], patchcore: bool) -> dict[str, Any]:
    """Measure each method in a process of its own."""
    found: dict[str, Any] = {"references": FITTED, "images": len(paths) - FITTED}
    for name in ("adapt", "patchcore")[: 1 + patchcore]:
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            values = pool.submit(timed, name == "patchcore", paths).result()
        found[name] = {key: round(value, 3) for key, value in values.items()}
    return found


def gflops_ratio() -> float:
    """Compute the operations of a part's detector divided by those of the shipped one."""
    detector, _ = load_detector(CHECKPOINT)
    part = ReferenceDetector(detector)
    part.bank, part.offset = part.bank.expand(MOST_PATCHES, -1, -1, -1), part.offset.expand(MOST_PATCHES)
    return round(count_cost(part, detector.size).gflops / count_cost(detector, detector.size).gflops, 3)
