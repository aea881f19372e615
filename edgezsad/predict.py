"""Score images and write heat maps: `Detector` for Python, `predict_files` for the command line and `evaluate`."""

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from edgezsad.data.images import Reading, count_pixels, decode_image, load, prepare
from edgezsad.data.layouts import HEATMAP, IMAGE_ENDINGS, images_below, is_image
from edgezsad.errors import InputError, one_line, printable
from edgezsad.files import check_may_be_written, progress, sha256_of_file, written_beside
from edgezsad.model import BITS, CALIBRATION, GRAPH, REFERENCES
from edgezsad.references import BATCH_DEVIATIONS, Describer, adapt, check_seal, compare
from edgezsad.scoring.score_file import Scorer
from edgezsad.scoring.tiles import Regions, wrapped
from edgezsad.show.maps import overlay, thumbnail

AHEAD, READERS = 4, 2  # images that are read while another one is scored, and threads that read them
AHEAD_PIXELS = 100_000_000  # of all images in memory, or a single one that is larger
MASK_FOLDERS = ("ground_truth", "mask", "masks")
IMAGE_FOLDERS = ("test", "good", "bad", "images", "Images")  # next to which they hold masks
SEVERAL = 5  # images on one side of a threshold are a reason to warn from this number on
GIVEN = "the given threshold"
BATCH_RULE = (
    f"{BATCH_DEVIATIONS:g} standard deviations above the mean of the good images, estimated from the lower scores"
)
UNCALIBRATED = (
    "none, scores only rank images; for verdicts, adapt the detector to your part (`edgezsad adapt GOOD/*.jpg --output "
    "part.onnx`), compare the images of a folder (--compare), or give --threshold"
)
CSV_COLUMNS = ("path", "verdict", "score", "threshold", "heatmap", "error", "region")


@dataclass(frozen=True)
class Prediction:
    """Result of one image, defective if its score is at least the threshold; `heatmap` is the file written, if any.

    Without a threshold the score only ranks images: the verdict is "uncalibrated". Score (higher is more anomalous) and
    map, (h, w) float32 at the model's resolution, are raw logits. `problem` says why a requested heat map was not
    written.
    """

    path: Path
    score: float
    threshold: float | None
    map: np.ndarray = field(repr=False, compare=False)
    heatmap: Path | None = None
    problem: str = ""
    thumbnail: np.ndarray | None = field(default=None, repr=False, compare=False)  # (h, w, 3) uint8 RGB, if asked for
    region: str = ""  # the masks of what was scored

    @property
    def defective(self) -> bool | None:
        return None if self.threshold is None else self.score >= self.threshold

    @property
    def verdict(self) -> str:
        return {None: "uncalibrated", True: "defective", False: "normal"}[self.defective]

    def as_text(self) -> str:
        text = f"{self.verdict:9}  {self.score:+8.3f}  {self.path}" + (f"  ({self.heatmap})" if self.heatmap else "")
        return printable(text)

    def as_json(self) -> dict[str, object]:
        row = {"path": str(self.path), "score": self.score, "threshold": self.threshold, "verdict": self.verdict}
        row["heatmap"] = str(self.heatmap) if self.heatmap else None
        row |= {"region": self.region} if self.region else {}
        return row | ({"error": self.problem} if self.problem else {})


@dataclass(frozen=True)
class Failure:
    """An image without a score; `reason` is one line that names the file."""

    path: Path
    reason: str

    def as_json(self) -> dict[str, object]:
        return {"path": str(self.path), "error": self.reason}


def csv_row(result: Prediction | Failure) -> dict[str, object]:
    """Return the row of `--csv`, with six significant digits."""
    row = {name: value for name, value in result.as_json().items() if value is not None}
    cells = {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()}
    return dict.fromkeys(CSV_COLUMNS, "") | cells


@dataclass(frozen=True)
class Decision:
    """The threshold of a detector, its basis, and the detector's file; without a threshold, scores only rank images."""

    threshold: float | None = None
    basis: str = UNCALIBRATED
    detector: str = field(default="", compare=False)
    warnings: Sequence[str] = ()

    @classmethod
    def of(cls, file: Path, given: float | None, threshold: float | None = None, basis: str = "") -> "Decision":
        """Decide by the given threshold, else by one with a basis; `file` is named with its hash."""
        if given is not None and not math.isfinite(given):
            raise InputError(f"--threshold {given}: not a finite number; give a score")
        found = (given, GIVEN) if given is not None else (threshold, basis) if basis else (None, UNCALIBRATED)
        return cls(*found, f"{file.name}, SHA-256 {sha256_of_file(file)}")


class Detector:
    """A detector for Python scripts.

    detector = Detector.adapt(["good/1.jpg", "good/2.jpg"], "part.onnx")
    print(detector.predict("part.jpg").verdict)
    """

    def __init__(self, checkpoint: Path | str | None = None, threshold: float | None = None, **options: Any):
        """Open a graph (.onnx) or a checkpoint (.safetensors); the default, the shipped graph, gives no verdicts.

        Options: `tiles` and `regions` of `load_scorer`.
        """
        self.scorer, self.decision = load_scorer(checkpoint, threshold, **options)

    @classmethod
    def adapt(cls, images: Sequence[Path | str], output: Path | str = "part.onnx", **options: Any) -> "Detector":
        """Adapt the shipped detector to images of good parts and write it; options: `edgezsad.references.adapt`."""
        return cls(adapt([Path(path) for path in images], Path(output), **options).path)

    def predict(self, image: Path | str) -> Prediction:
        """Score one image file; a file that cannot be read or scored is an `InputError`."""
        reading = Reading(choose_bits(None, self.scorer))
        (result,) = predict_files(self.scorer, self.decision.threshold, [Path(image)], reading=reading)
        if isinstance(result, Failure):
            raise InputError(result.reason)
        return result


def load_scorer(
    checkpoint: Path | str | None = None,
    threshold: float | None = None,
    tiles: str = "",
    regions: Regions | None = None,
) -> tuple[Scorer, Decision]:
    """Open an exported graph (.onnx), by default the shipped one, or a checkpoint (.safetensors).

    Returns the scorer and its decision: by the given threshold, else by the graph's if it was calibrated on good parts.
    `tiles` along the longer side of an image are a number or "auto"; a part's detector has its own, and needs its
    `regions`.
    """
    checkpoint = Path(checkpoint or GRAPH)
    if checkpoint.suffix.lower() == ".onnx":
        from edgezsad.scoring.onnx_scorer import OnnxScorer, check_graph, cores

        if checkpoint != GRAPH and checkpoint.is_file():
            check_graph(checkpoint)
        scorer: Scorer = OnnxScorer(checkpoint, cores(), warm_up=False)
        check_seal(checkpoint, scorer.metadata)
        # A threshold fitted to the source is no basis for a decision on another part.
        calibrated = scorer.threshold, scorer.metadata.get(CALIBRATION, "")
    else:
        # PyTorch takes seconds to import.
        from edgezsad.model.detector import load_detector
        from edgezsad.scoring.torch_scorer import TorchScorer

        scorer, calibrated = TorchScorer(load_detector(checkpoint)[0]), ()
    scorer = wrapped(scorer, tiles, regions or Regions(), checkpoint)
    return scorer, Decision.of(checkpoint, threshold, *calibrated)


def choose_bits(stated: int | None, scorer: Scorer) -> int | None:
    """Return the bits of 16-bit files, as stated or as a part's detector records them; None if unknown, which means 16.

    An InputError if both are known and differ.
    """
    recorded = int(getattr(scorer, "metadata", {}).get(BITS, 0)) or None
    if stated and recorded not in (None, stated):
        raise InputError(f"--bits {stated}: the references have {recorded} bits; leave out --bits, or adapt again")
    return stated or recorded


def compare_images(
    images: Sequence[Path], threshold: float | None, bits: int | None = None, regions: Regions | None = None
) -> tuple[Scorer, Decision, list[Path]]:
    """Compare the images of a folder with one another; returns their scorer, decision (with warnings), and order.

    The scorer returns the known results one after the other. Images that cannot be read come last, and fail again.
    """
    describer, descriptions = Describer(), []

    def describe(image: np.ndarray) -> tuple[float, np.ndarray]:
        descriptions.append(describer.describe(image))
        return 0.0, np.zeros((1, 1), np.float32)

    def scorer_of(score: Callable[[np.ndarray], tuple[float, np.ndarray]]) -> Scorer:
        return wrapped(SimpleNamespace(size=describer.size, score=score), "", regions or Regions(), "")

    results = predict_files(scorer_of(describe), None, images, reading=Reading(bits))
    results = list(progress(results, "describe", len(images)))
    order = sorted(images, key=dict(zip(images, (isinstance(one, Failure) for one in results), strict=True)).get)
    found = compare(descriptions)
    known = zip(map(float, found.scores), found.maps, strict=True)
    decision = replace(Decision.of(REFERENCES, threshold, found.threshold, BATCH_RULE), warnings=found.warnings)
    return scorer_of(lambda _: next(known)), decision, order


def verdict_notes(decision: Decision, results: Sequence[Prediction]) -> list[str]:
    """Say what the verdicts rest on, and warn if a threshold puts all of at least `SEVERAL` images on one side."""
    warnings, verdicts = [*decision.warnings], {result.verdict for result in results}
    if decision.threshold is not None and len(results) >= SEVERAL and len(verdicts) == 1:
        warnings.append(f"all {len(results)} images are {verdicts.pop()}; check that the threshold fits this part")
    return [f"verdicts: {decision.basis}", *(f"warning: {text}" for text in warnings)]


def find_images(given: Sequence[str | Path]) -> tuple[list[Path], int]:
    """Find the images in files and folders (at any depth), each once, in that order.

    `@FILE` is a text file with one path a line. Missing files and unsupported formats are kept, to be reported as
    failures; heat maps of earlier calls are not, nor masks (see `_holds_masks`). Returns the images and the number of
    masks; InputError if there are none.
    """
    found: dict[Path, None] = {}
    for path in map(Path, given):
        if path.is_dir():
            names = [path / name for name in images_below(path)]
        elif str(path).startswith("@"):
            text = Path(str(path)[1:]).read_text(encoding="utf-8", errors="surrogateescape")
            names = [Path(line) for line in text.splitlines() if line]
        else:
            names = [path]
        if not names:
            raise InputError(f"{path}: no images ({', '.join(IMAGE_ENDINGS)}); give images, or folders with images")
        found |= dict.fromkeys(names)
    images = [path for path in found if not path.name.endswith(HEATMAP)]
    holds_masks = {folder: _holds_masks(folder) for folder in {path.parent for path in images}}
    chosen = [path for path in images if not holds_masks[path.parent]]
    if found and not chosen:
        raise InputError(f"{next(iter(found))}: a mask, or a heat map of an earlier call; give images")
    return chosen, len(images) - len(chosen)


def _holds_masks(folder: Path) -> bool:
    """Return whether a folder, or one above it, is named like one of masks and next to one of images."""
    folder = folder.absolute()
    named = [above for above in (folder, *folder.parents) if above.name.casefold() in MASK_FOLDERS]
    return any(above.with_name(name).is_dir() for above in named for name in IMAGE_FOLDERS)


@dataclass(frozen=True)
class HeatMaps:
    """Where heat maps are written: next to the images, or below `folder` as the images are below `base`."""

    folder: Path | None = None
    base: Path = Path()

    @classmethod
    def of(cls, images: Sequence[Path], folder: Path | None = None) -> "HeatMaps":
        """Choose the deepest folder above all images as the base."""
        return cls(folder, Path(os.path.commonpath([_absolute(path).parent for path in images])))

    def path_of(self, image: Path) -> Path:
        """Return the path of an image's heat map; the full file name is kept, so that a.jpg and a.png differ."""
        if self.folder is not None:
            image = self.folder / _absolute(image).relative_to(_absolute(self.base))
        return image.with_name(image.name + HEATMAP)


def _absolute(path: Path) -> Path:
    # Resolves `..` but not links.
    return Path(os.path.abspath(path))  # noqa: PTH100


def predict_files(
    scorer: Scorer,
    threshold: float | None,
    images: Iterable[Path],
    heatmaps: HeatMaps | None = None,
    thumbnails: bool = False,
    reading: Reading | None = None,
) -> Iterator[Prediction | Failure]:
    """Score images in order, while threads read the next ones; an error with one image does not stop the rest.

    An image that cannot be read, or has no finite score, becomes a `Failure`. A heat map is written where `heatmaps`
    says, if given; why one was not is the `problem` of its `Prediction`. Reports need `thumbnails`. `reading` says how
    files are read.
    """
    regions = getattr(scorer, "regions", None)

    def read(path: Path) -> tuple[np.ndarray | None, list[np.ndarray], np.ndarray | None]:
        if scorer.size and not (heatmaps or thumbnails or regions):
            return None, [load(path, scorer.size, reading)], None
        image = decode_image(path, reading)
        kept = [regions.blank(path, image)] if regions else []
        prepared = prepare(image, scorer.size) if scorer.size else image
        # The full image is kept only for its heat map, and for tiles.
        return (image if heatmaps else None), [prepared, *kept], (thumbnail(image) if thumbnails else None)

    remaining = iter(images)
    following = next(remaining, None)
    waiting: deque = deque()
    with ThreadPoolExecutor(READERS) as readers:
        while True:
            image = future = None  # frees the last one
            while following is not None and len(waiting) < AHEAD + 1:
                pixels = count_pixels(following)
                if waiting and pixels + sum(each for each, *_ in waiting) > AHEAD_PIXELS:
                    break
                waiting.append((pixels, following, readers.submit(read, following)))
                following = next(remaining, None)
            if not waiting:
                return
            _, path, future = waiting.popleft()
            try:
                image, prepared, small = future.result()
            except (InputError, OSError) as error:
                yield Failure(path, one_line(error, None))
                continue
            score, anomaly_map = scorer.score(*prepared)
            if not (math.isfinite(score) and np.isfinite(anomaly_map).all()):
                yield Failure(path, f"{path}: the score is not finite; use another checkpoint or graph")
                continue
            target, problem = heatmaps.path_of(path) if heatmaps else None, ""
            try:
                if target:
                    with written_beside(target) as temporary:
                        Image.fromarray(overlay(image, anomaly_map, out=image)).save(temporary)
            except (InputError, OSError) as error:
                target, problem = None, one_line(error, None)
            yield Prediction(path, score, threshold, anomaly_map, target, problem, small, getattr(scorer, "region", ""))


def check_csv(path: Path) -> None:
    """Check, before any image is scored, that a table can be written and does not replace an image."""
    if is_image(path.name):
        raise InputError(f"{path}: named like an image; give a table a name that ends in .csv")
    check_may_be_written(path)
