"""Score a user's own photographs with a trained checkpoint, and paint heat maps over them."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from edgezsad.data.images import decode_image, prepare
from edgezsad.errors import InputError
from edgezsad.files import written_beside
from edgezsad.model.detector import Detector, load_detector
from edgezsad.plots.overlay import overlay
from edgezsad.run import open_run
from edgezsad.scoring.torch_scorer import TorchScorer

HEATMAP = ".heatmap.png"


@dataclass(frozen=True)
class Prediction:
    """One photograph's result.

    Attributes:
        path: the photograph.
        score: raw logit; higher is more anomalous.
        threshold: from source images; at or above it the photograph is called defective.
        heatmap: the picture written beside it, if asked for.
    """

    path: Path
    score: float
    threshold: float
    heatmap: Path | None

    @property
    def defective(self) -> bool:
        """The verdict."""
        return self.score >= self.threshold

    def as_text(self) -> str:
        """One line: verdict, score, path."""
        verdict = "defective" if self.defective else "normal"
        return f"{verdict:9}  {self.score:+8.3f}  {self.path}" + (f"  ({self.heatmap})" if self.heatmap else "")

    def as_json(self) -> dict[str, object]:
        """For `--json`."""
        return {
            "path": str(self.path),
            "score": self.score,
            "threshold": self.threshold,
            "defective": self.defective,
            "heatmap": str(self.heatmap) if self.heatmap else None,
        }


def load_model(config: Path | str, checkpoint: Path | str | None) -> tuple[Detector, float]:
    """The detector and its threshold, from a checkpoint or from a profile's run (its first seed).

    Raises:
        InputError: there is no such checkpoint; the message says how to make one.
    """
    here = Path.cwd()
    if checkpoint is None:
        run = open_run(config)
        # The run lies relative to the repository, the caller's photographs relative to where the caller stands.
        checkpoint = run.checkpoint(run.profile.seeds[0]).absolute()
        os.chdir(here)
        if not checkpoint.is_file():
            raise InputError(f"{checkpoint}: not trained yet; run `make book`, or give --checkpoint FILE")
    detector, info = load_detector(checkpoint)
    return detector, info.threshold


def check_photographs(photographs: list[Path], heatmap: bool) -> list[Path]:
    """Decode every photograph once, before anything is written, so that a bad one leaves nothing half done.

    Returns:
        those to score: heat maps that an earlier call wrote beside its photographs are left out.

    Raises:
        InputError: a photograph is missing or damaged, or its folder cannot be written to; it is named.
    """
    chosen = [path for path in photographs if not path.name.endswith(HEATMAP)]
    if not chosen:
        raise InputError(f"{photographs[0]}: a heat map of an earlier call; give photographs")
    for path in chosen:
        decode_image(path)
        if heatmap and not os.access(path.parent, os.W_OK):
            raise InputError(f"{path.parent}: may not be written to; copy the photographs elsewhere for heat maps")
    return chosen


def predict_files(
    detector: Detector, threshold: float, photographs: list[Path], heatmap: bool = False
) -> Iterator[Prediction]:
    """Score photographs one by one, and write `NAME.heatmap.png` beside each if asked.

    Raises:
        InputError: a photograph is missing or damaged; it is named.
    """
    scorer = TorchScorer(detector)
    for path in photographs:
        image = decode_image(path)
        score, anomaly_map = scorer.score(prepare(image, detector.size))
        written = None
        if heatmap:
            # The whole file name is kept, so that part.jpg and part.png do not overwrite each other's picture.
            written = path.with_name(path.name + HEATMAP)
            with written_beside(written) as temporary:
                Image.fromarray(overlay(image, anomaly_map)).save(temporary)
        yield Prediction(path, score, threshold, written)
