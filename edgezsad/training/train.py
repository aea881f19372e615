"""The loop that turns cached source features into a checkpoint, its metrics and its training curve."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from edgezsad.config import Profile
from edgezsad.errors import CheckError, InputError
from edgezsad.files import write_json, written_beside
from edgezsad.metrics.image import auroc, best_f1
from edgezsad.model.backbone import Backbone
from edgezsad.model.detector import CheckpointInfo, build_detector, save_checkpoint
from edgezsad.model.readout import EdgeGLR
from edgezsad.progress import progress
from edgezsad.training.features import Features
from edgezsad.training.recipe import batches, learning_rate, loss

LOG_EVERY = 10


@dataclass(frozen=True)
class Trained:
    """What training made.

    Attributes:
        checkpoint: path of the safetensors file.
        curve: one row every few steps: step, learning_rate, each loss term, gain.
        metrics: seed, steps, validation AUROC (percent) of the score and of each head, on which
            images, threshold, gain.
    """

    checkpoint: Path
    curve: pd.DataFrame
    metrics: dict[str, float | int | str]


def train(profile: Profile, features: Features, backbone: Backbone, seed: int, folder: Path | str) -> Trained:
    """Train one seed and write `checkpoint.safetensors`, `curve.csv` and `metrics.json` into `folder`.

    Raises:
        InputError: the features belong to another backbone, or the source lacks normal or defective images.
        CheckError: the loss is no longer finite; the step is named.
    """
    folder = Path(folder)
    config = profile.training
    made_by = (features.info.backbone_sha256, features.info.size, features.info.strides)
    if made_by != (backbone.sha256(), profile.model.size, backbone.strides):
        raise InputError(
            f"{profile.run / 'features'}: made by another backbone, size or strides; run notebook 02_features again"
        )
    if len(np.unique(features.label)) < 2:
        raise InputError("data.source: needs normal and defective images; add a folder that has both")
    torch.manual_seed(seed)
    readout = build_detector(profile.model, backbone).readout
    fitted, held_out = split(features, config.validation)
    fit_scale(readout, features, fitted)
    optimiser = torch.optim.AdamW(readout.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    readout.train()
    rows = []
    steps = batches(features.label[fitted], features.group[fitted], config, seed)
    for step, picked in enumerate(progress(steps, f"seed {seed}", total=config.steps, unit="step")):
        batch = fitted[picked]
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, config)
        value = loss(
            readout(tensors(features, batch)),
            torch.from_numpy(features.label[batch]),
            torch.from_numpy(features.coverage[batch]),
            config,
        )
        if not torch.isfinite(value.total):
            raise CheckError(f"seed {seed}: the loss is not finite at step {step}; lower training.learning_rate")
        optimiser.zero_grad()
        value.total.backward()
        optimiser.step()
        if step % LOG_EVERY == 0 or step == config.steps - 1:
            terms = {name: term.item() for name, term in value.terms.items()}
            rows.append(
                {"step": step, "learning_rate": learning_rate(step, config)} | terms | {"gain": readout.gain.item()}
            )
    readout.eval()
    # A small source may leave no image of one class to hold out; then training is followed on what it was fitted on.
    both = len(np.unique(features.label[held_out])) == 2
    metrics = validate(readout, features, held_out if both else fitted)
    metrics |= {"validated_on": "held-out source images" if both else "the fitted source images: too few to hold out"}
    metrics = {"seed": seed, "steps": config.steps, "source_images": len(features)} | metrics
    curve = pd.DataFrame(rows)
    with written_beside(folder / "curve.csv") as temporary:
        curve.to_csv(temporary, index=False, lineterminator="\n")
    info = CheckpointInfo(
        model=profile.model,
        backbone_sha256=features.info.backbone_sha256,
        profile=profile.profile,
        seed=seed,
        source_sha256=features.info.source_sha256,
        threshold=metrics["threshold"],
    )
    checkpoint = save_checkpoint(folder / "checkpoint.safetensors", readout, info)
    write_json(folder / "metrics.json", metrics)
    return Trained(checkpoint, curve, metrics)


def split(features: Features, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows to fit on and rows to hold out, the same for every seed, stratified by group and label.

    Images that come from one photograph stay together: a crop held out of an image fitted on would be known already.
    """
    generator = np.random.default_rng(0)
    held = np.zeros(len(features), dtype=bool)
    for group in np.unique(features.group):
        for label in (0, 1):
            rows = np.flatnonzero((features.group == group) & (features.label == label))
            _, first = np.unique(features.parent[rows], return_index=True)
            first = rows[np.sort(first)]
            picked = features.parent[generator.permutation(first)[: int(len(first) * share)]]
            held |= np.isin(features.parent, picked)
    return np.flatnonzero(~held), np.flatnonzero(held)


def fit_scale(readout: EdgeGLR, features: Features, rows: np.ndarray) -> None:
    """Set the scale of the readout's channels from the source images it is fitted on."""
    for module, stored in zip(readout.difference, features.maps, strict=True):
        total = np.zeros(stored.shape[1])
        squares = np.zeros(stored.shape[1])
        # In pieces, since all features together may not fit into memory.
        for start in range(0, len(rows), 64):
            piece = stored[rows[start : start + 64]].astype(np.float64)
            total += piece.sum(axis=(0, 2, 3))
            squares += (piece**2).sum(axis=(0, 2, 3))
        count = len(rows) * stored.shape[2] * stored.shape[3]
        mean = total / count
        module.fit(torch.from_numpy(np.sqrt(np.maximum(squares / count - mean**2, 0))).float())


def tensors(features: Features, rows: np.ndarray) -> list[torch.Tensor]:
    """Feature maps of some rows as float32 tensors."""
    return [torch.from_numpy(np.asarray(stored[rows], dtype=np.float32)) for stored in features.maps]


@torch.inference_mode()
def validate(readout: EdgeGLR, features: Features, rows: np.ndarray) -> dict[str, float]:
    """AUROC in percent of the score and of each head on held-out source images, and the best-F1 threshold."""
    pieces = [readout(tensors(features, rows[start : start + 64])) for start in range(0, len(rows), 64)]
    label = features.label[rows]
    parts = {
        name: torch.cat([getattr(piece, name) for piece in pieces]).numpy()
        for name in ("score", "ranking", "correction")
    }
    result = {f"validation_auroc_{name}": 100 * auroc(label, values) for name, values in parts.items()}
    return result | {"threshold": best_f1(label, parts["score"]).threshold, "gain": readout.gain.item()}


def metrics_table(metrics: dict[str, float | int | str]) -> pd.DataFrame:
    """Training's metrics as rows of name and value."""
    names = {
        "validation_auroc_score": "AUROC of the score (%)",
        "validation_auroc_ranking": "AUROC of the global head alone (%)",
        "validation_auroc_correction": "AUROC of the spatial correction alone (%)",
        "threshold": "threshold of the best F1 (logit)",
        "gain": "gain of the spatial correction",
        "source_images": "source images",
        "steps": "steps",
    }
    return pd.DataFrame([{"what": text, "value": metrics[name]} for name, text in names.items()])
