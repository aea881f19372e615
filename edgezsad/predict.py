"""Score a user's own photographs with a trained checkpoint, and paint heat maps over them."""

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


@dataclass(frozen=True)
class Prediction:
    """One photograph's result.

    Attributes:
        path: the photograph.
        score: raw logit; higher is more anomalous.
        threshold: from held-out source images; at or above it the photograph is called defective.
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
    if checkpoint is None:
        run = open_run(config)
        checkpoint = run.checkpoint(run.profile.seeds[0])
        if not checkpoint.is_file():
            raise InputError(f"{checkpoint}: not trained yet; run `make book`, or give --checkpoint FILE")
    detector, info = load_detector(checkpoint)
    return detector, info.threshold


def predict_files(
    detector: Detector, threshold: float, photographs: list[Path], heatmap: bool = False
) -> list[Prediction]:
    """Score photographs, and write `NAME.heatmap.png` beside each if asked.

    All photographs are decoded before anything is written, so that a bad one leaves nothing half done.

    Raises:
        InputError: a photograph is missing or damaged; it is named.
    """
    for path in photographs:
        decode_image(path)
    scorer = TorchScorer(detector)
    predictions = []
    for path in photographs:
        image = decode_image(path)
        score, anomaly_map = scorer.score(prepare(image, detector.size))
        written = None
        if heatmap:
            # The whole file name is kept, so that part.jpg and part.png do not overwrite each other's picture.
            written = path.with_name(f"{path.name}.heatmap.png")
            with written_beside(written) as temporary:
                Image.fromarray(overlay(image, anomaly_map)).save(temporary)
        predictions.append(Prediction(path, score, threshold, written))
    return predictions
