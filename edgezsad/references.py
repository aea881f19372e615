"""Adapt the shipped detector to a part by a few images of good parts: one ONNX file, in seconds, without PyTorch.

The file is the shipped graph `references.onnx` and, appended, the reference patches with a threshold calibrated on
good images; `edgezsad.model.references` has the method. `compare` does without references: it compares the images of a
folder with one another, after MuSc (Li et al., 2024).
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from edgezsad.data.images import Reading, decode_image, measure
from edgezsad.errors import CheckError, InputError
from edgezsad.export.onnx_append import appended
from edgezsad.files import check_may_be_written, progress, sha256_of_bytes, sha256_of_file, written_beside
from edgezsad.metrics.calibration import calibrate, estimate, estimate_text
from edgezsad.model import (
    BITS,
    CALIBRATION,
    MAP_WEIGHT,
    OWN_WEIGHT,
    PATCH_CHANNELS,
    PATCH_SIDE,
    PEAK_CELLS,
    REFERENCES,
    SMALLEST,
    THRESHOLD,
)
from edgezsad.scoring.onnx_scorer import as_tensor, cores, cpu_session
from edgezsad.scoring.tiles import REGION, TILES, Regions, automatic, cut, parse_tiles

MOST_IMAGES = 16  # references; further images calibrate the threshold
SPLIT_FROM = 20  # images from which half of them calibrate
MOST_PATCHES = 800  # of the references: 0.8 MB, a tenth of the graph's operations; twice as many if rotated, or tiles
KEPT, GATHERED = 1600, 8000  # patches of an image in tiles that are kept, from so many on
ANGLES = (45, 90, 135)  # degrees; patches are the same after a rotation by 180
ROTATIONS = ("auto", "none", "8")
SEALED = {"references", "base_sha256", "sha256"}  # metadata keys that only a part's detector has
ROTATED_BELOW = 0.95  # ratio of the leave-one-out scores with and without rotated references from which they are used
GAIN = 12.5  # scores are deviations from a good part's mean in units of 8% of it
OUTLIER = 4.0  # score of a reference, if the others' mean is zero, from which it is suspicious
FEWEST, RELIABLE = 4, 16  # images of a folder that can be compared, and from which on the comparison is reliable
NEAREST_SHARE = 0.3  # of the other images, to which a patch is compared
BATCH_DEVIATIONS = 3.0  # standard deviations above the mean of the good images from which an image stands out
LOWER = (0.1, 0.4)  # quantiles of a folder's scores that give this mean and deviation: defective images are above
LOWER_NORMAL = (-1.2816, -0.2533)  # the same of the standard normal distribution
SMALLEST_DEVIATION = 0.02  # of the logarithms of a folder's scores
MIXED = 1.95  # ratio of an image's distances to others, 90% and 10% quantile, from which a folder holds several kinds


@dataclass(frozen=True)
class Description:
    """Patches of one image (N, C), the detector's map there (N,), and distances within the image (N,), all float32."""

    patches: np.ndarray
    detector_map: np.ndarray
    own: np.ndarray

    @property
    def bank(self) -> np.ndarray:
        """Twice the patches, (N, C): the weights with which they are references."""
        return 2 * self.patches

    @property
    def offset(self) -> np.ndarray:
        """The biases of these weights, (N,)."""
        return MAP_WEIGHT * self.detector_map - np.square(self.patches).sum(axis=1)

    def distances(self, bank: np.ndarray, offset: np.ndarray) -> np.ndarray:
        """Compute the distance (N,) of each patch to the nearest reference patch, weights (M, C) and biases (M,)."""
        length = np.square(self.patches).sum(axis=1) + MAP_WEIGHT * self.detector_map
        nearest = (self.patches @ bank.T + offset).max(axis=1)
        return np.sqrt(np.maximum(length - nearest, SMALLEST))


class Describer:
    """The shipped graph with outputs that describe an image."""

    def __init__(self) -> None:
        bank = np.zeros((1, PATCH_CHANNELS, 1, 1), np.float16)
        placeholder = {"bank.fp16": bank, "offset": np.zeros(1, np.float32)} | standard(1.0, 0.0)
        channels = {"patches": PATCH_CHANNELS, "detector_map": 1, "own_distance": 1}
        outputs = {name: (1, count, PATCH_SIDE, PATCH_SIDE) for name, count in channels.items()}
        graph = appended(REFERENCES.read_bytes(), placeholder, outputs=outputs)
        self.session = cpu_session(REFERENCES, cores(), data=graph)
        self.outputs, self.size = [*outputs], self.session.get_inputs()[0].shape[2]

    def describe(self, image: np.ndarray) -> Description:
        """Describe an image (size, size, 3) uint8 RGB."""
        patches, detector_map, own = self.session.run(self.outputs, {"image": as_tensor(image, self.size)})
        return Description(patches[0].reshape(patches.shape[1], -1).T.copy(), detector_map.ravel(), own.ravel())

    def tiles_of(
        self, path: Path, count: int = 1, angle: int = 0, reading: Reading | None = None, regions: Regions | None = None
    ) -> Iterator[Description]:
        """Describe the tiles of an image file, each rotated by `angle`; a count of 1 is the whole image."""
        image = decode_image(path, reading)
        for _, _, tile in cut(image, self.size, count, regions.blank(path, image) if regions else None):
            yield self.describe(rotate(tile, angle))


def gathered(tiles: Iterable[Description]) -> Description:
    """Join the descriptions of an image's tiles; of more than `GATHERED` patches, `KEPT` that represent all."""
    patches, detector_map, own = np.zeros((0, PATCH_CHANNELS), np.float32), np.zeros(0, np.float32), []
    for one in tiles:
        patches, detector_map = np.concatenate([patches, one.patches]), np.append(detector_map, one.detector_map)
        own.append(one.own)
        if len(patches) > GATHERED:
            rows = farthest_points(patches, KEPT)
            patches, detector_map = patches[rows], detector_map[rows]
    return Description(patches, detector_map, np.concatenate(own))


@dataclass(frozen=True)
class Adapted:
    """A part's detector: what was written, what its threshold promises, and what is suspicious about the images."""

    path: Path
    references: int
    patches: int
    rotated: bool
    threshold: float | None
    basis: str
    warnings: list[str]
    tiles: int = 1  # along the longer side; 1: whole images

    def as_text(self) -> str:
        """Describe the file in one line, then its threshold, then the warnings."""
        turned = ", rotated in steps of 45 degrees" if self.rotated else ""
        turned += f" in {self.tiles} tiles along the longer side" if self.tiles > 1 else ""
        size = f"{self.patches:,} patches, {self.path.stat().st_size / 1e6:.1f} MB"
        limit = "" if self.threshold is None else f"{self.threshold:.3f}, "
        lines = [f"{self.path}: {self.references} reference images{turned}, {size}", f"threshold: {limit}{self.basis}"]
        return "\n".join(lines + [f"warning: {text}" for text in self.warnings])


def adapt(
    images: Sequence[Path],
    output: Path,
    calibrate_on: Sequence[Path] = (),
    false_alarms: float = 0.05,
    rotations: str = "auto",
    bits: int | None = None,
    tiles: str = "",
    regions: Regions | None = None,
) -> Adapted:
    """Write the detector of a part.

    Args:
        images: of good parts; of `SPLIT_FROM` or more, up to `MOST_IMAGES` become references, the rest calibrates.
        output: the ONNX file.
        calibrate_on: more images of good parts, for the threshold alone.
        false_alarms: largest share of good parts that may be called defective.
        rotations: "8" adds the references rotated in steps of 45 degrees, "none" does not, "auto" does if references
            then resemble one another more; in tiles, "auto" does not.
        bits: of the camera in 16-bit files, 16 by default; the file records them, and images are read the same way.
        tiles: along the longer side, a number or "auto" for the references' size; "" is whole images.
        regions: of all images that are scored; the file records them, and `predict` needs the same.

    Raises:
        InputError: no images, one given twice or unreadable, or images of different shape.
    """
    if rotations not in ROTATIONS:
        raise InputError(f"--rotations {rotations}: expected {', '.join(ROTATIONS)}")
    if output.suffix.lower() != ".onnx":
        raise InputError(f"{output}: the name of a part's detector must end with .onnx; rename it")
    check_may_be_written(output)
    longer = check_references([*images, *calibrate_on])
    chosen, held_out = split_references(images, calibrate_on)
    describer, reading = Describer(), Reading(bits)
    count = parse_tiles(tiles) or automatic(longer, describer.size) if tiles else 1
    describe = partial(describer.tiles_of, count=count, reading=reading, regions=regions)
    found = [gathered(describe(path)) for path in progress(chosen, "describe references")]
    turned = describe_turned(describe, chosen, found, "none" if count > 1 and rotations == "auto" else rotations)
    # All patches of large images would not fit into memory: they are described again, one tile at a time.
    left_out = leave_one_out(found, turned, map(describe, chosen) if count > 1 else None)
    everything = [one for image, copies in zip(found, turned, strict=True) for one in (image, *copies)]
    bank, offset = select_patches(everything, MOST_PATCHES * (2 if count > 1 or any(turned) else 1))
    # One reference has nothing to be compared with but itself.
    level = float(np.mean(left_out)) if left_out else score_of((1 + OWN_WEIGHT) * found[0].own)
    rescale: Callable[[float], float] = lambda score: GAIN * (score / level - 1)  # noqa: E731
    threshold, basis = None, "none, it needs at least two images of good parts"
    if held_out:
        good = [rescale(compare_with(describe(path), bank, offset)) for path in progress(held_out, "calibrate")]
        calibration = calibrate(good, false_alarms)
        threshold, basis = calibration.threshold, calibration.as_text()
    elif left_out:
        threshold, basis = rescale(estimate(left_out, false_alarms)), estimate_text(len(left_out), false_alarms)
    metadata = {
        "references": json.dumps([sha256_of_file(path) for path in chosen]),
        "date": datetime.now(UTC).date().isoformat(),
        "base_sha256": sha256_of_file(REFERENCES),
        "rotations": "8" if turned[0] else "none",
    }
    if reading.brightest:
        metadata[BITS] = str(bits or 16)
    if threshold is not None:
        metadata |= {THRESHOLD: repr(threshold), CALIBRATION: basis}
    if tiles:
        metadata[TILES] = str(count)
    if regions:
        metadata[REGION] = regions.record()
    tensors = {"bank.fp16": bank[:, :, None, None], "offset": offset} | standard(GAIN / level, -GAIN)
    with written_beside(output) as temporary:
        temporary.write_bytes(sealed(appended(REFERENCES.read_bytes(), tensors, metadata)))
    warnings = reading.notes()
    for row, score in enumerate(left_out):
        if (deviation := GAIN * (score / np.mean(np.delete(left_out, row)) - 1)) > OUTLIER:
            unlike = f"unlike the other references (score {deviation:+.1f})"
            warnings.append(f"{chosen[row]}: {unlike}; is it defective, or another part?")
    return Adapted(output, len(chosen), len(bank), bool(turned[0]), threshold, basis, warnings, count)


def standard(scale: float, shift: float) -> dict[str, np.ndarray]:
    """Return the tensors by which a graph scales its scores and maps."""
    return {name: np.full((1, 1, 1, 1), value, np.float32) for name, value in (("scale", scale), ("shift", shift))}


def sealed(data: bytes) -> bytes:
    """Append the hash of a file as its last metadata entry; `check_seal` compares it."""
    return appended(data, metadata={"sha256": sha256_of_bytes(data)})


def check_seal(path: Path, metadata: dict[str, str]) -> None:
    """Reject a part's detector that was edited, or that belongs to another version of the shipped graph.

    Files converted to FP16 or INT8 have no seal.
    """
    if not SEALED & metadata.keys() or metadata.get("precision", "fp32") != "fp32":
        return
    data, digest = path.read_bytes(), metadata.get("sha256", "")
    if metadata.get("base_sha256") != sha256_of_file(REFERENCES):
        raise InputError(f"{path}: made for another version of the shipped detector; run `edgezsad adapt` again")
    if data != sealed(data[: len(data) - len(appended(b"", metadata={"sha256": digest}))]):
        raise CheckError(f"{path}: changed since `edgezsad adapt` wrote it; run it again")


def check_references(images: Sequence[Path]) -> int:
    """Reject no images, one that is given twice, and images of different shape; returns the median longer side."""
    if not images:
        raise InputError("no references; give images of good parts")
    seen: dict[str, Path] = {}
    sizes = []
    for path in images:
        *size, digest = measure(path)
        if seen.setdefault(digest, path) is not path:
            raise InputError(f"{path}: the same image as {seen[digest]}; give each image once")
        sizes.append(size)
    shapes = np.divide(*np.transpose(sizes))
    for path, shape in zip(images, shapes / np.median(shapes), strict=True):
        if not 0.8 < shape < 1.25:
            raise InputError(f"{path}: another shape than the other references; give images of one part and one camera")
    return int(np.median(np.max(sizes, axis=1)))


def split_references(images: Sequence[Path], calibrate_on: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Choose references, spread evenly, and images for the threshold: the rest if there are many, and those given."""
    count = len(images)
    if calibrate_on or count >= SPLIT_FROM:
        count = min(count if calibrate_on else count // 2, MOST_IMAGES)
    rows = set(np.linspace(0, len(images) - 1, count).round().astype(int).tolist())
    rest = [path for row, path in enumerate(images) if row not in rows]
    return [images[row] for row in sorted(rows)], [*calibrate_on, *rest]


def rotate(image: np.ndarray, angle: int) -> np.ndarray:
    """Rotate an image (S, S, 3) by degrees around its centre; the border is repeated outwards."""
    if angle % 90 == 0:
        return np.ascontiguousarray(np.rot90(image, angle // 90))
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1)
    return cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def score_of(distances: np.ndarray) -> float:
    """Average the highest distances, of several tiles those of the highest: the image score before it is rescaled."""
    tiles = distances.reshape(-1, PATCH_SIDE**2)
    return float(np.partition(tiles, -PEAK_CELLS)[:, -PEAK_CELLS:].mean(axis=1).max())


def compare_with(tiles: Iterable[Description], bank: np.ndarray, offset: np.ndarray) -> float:
    """Score an image against reference patches (M, C), as the graph does: the highest score of its tiles."""
    return max(score_of(one.distances(np.float32(bank), offset) + OWN_WEIGHT * one.own) for one in tiles)


def leave_one_out(
    found: Sequence[Description],
    turned: Sequence[Sequence[Description]] = (),
    queries: Iterable[Iterable[Description]] | None = None,
) -> list[float]:
    """Score each reference against the others and their rotated copies; `queries` are its tiles, if it has several."""
    if len(found) < 2:
        return []
    scores, groups = [], [[one, *copies] for one, copies in zip(found, turned or [[]] * len(found), strict=True)]
    most = 2 * MOST_PATCHES if queries is not None or any(turned) else MOST_PATCHES
    for row, tiles in enumerate(queries or ([one] for one in found)):
        others = [one for number, group in enumerate(groups) if number != row for one in group]
        scores.append(compare_with(tiles, *select_patches(others, most)))
    return scores


def describe_turned(
    describe: Callable[..., Iterable[Description]], images: Sequence[Path], found: Sequence[Description], rotations: str
) -> list[list[Description]]:
    """Describe the rotated references (see `adapt`); with "auto", at most four of them are compared to decide."""
    turned: list[list[Description]] = []
    if rotations == "8" or (rotations == "auto" and len(found) > 1):
        for path in progress(images, "describe rotated references"):
            turned.append([gathered(describe(path, angle=angle)) for angle in ANGLES])
            if rotations == "auto" and len(turned) == min(4, len(images)):
                few = found[:4]
                if np.mean(leave_one_out(few, turned)) >= ROTATED_BELOW * np.mean(leave_one_out(few)):
                    break
        else:
            return turned
    return [[] for _ in found]


def select_patches(found: Sequence[Description], most: int) -> tuple[np.ndarray, np.ndarray]:
    """Choose at most `most` patches, each far from those chosen before; returns (M, C) FP16 weights and (M,) biases."""
    patches = np.concatenate([one.patches for one in found])
    detector_map = np.concatenate([one.detector_map for one in found])
    if len(patches) > most:
        rows = farthest_points(patches, most)
        patches, detector_map = patches[rows], detector_map[rows]
    bank = (2 * patches).astype(np.float16)
    # Of the rounded patches, or a reference would not be at distance zero from itself.
    lengths = np.square(bank.astype(np.float32) / 2).sum(axis=1)
    return bank, (MAP_WEIGHT * detector_map - lengths).astype(np.float32)


def farthest_points(points: np.ndarray, count: int, dimensions: int = 64) -> np.ndarray:
    """Choose rows of (N, C) points, each farthest from those chosen before: a few that represent all.

    Distances are those of a fixed pseudo-random projection, which preserves them well enough.
    """
    row, column = np.ogrid[: points.shape[1], :dimensions]
    # Whole numbers, so that the page "Try it" computes the same ones.
    projection = (row * 7919 + column * 104729 + 12345) ** 2 % 65521 / 65521 - 0.5
    small = points @ projection.astype(np.float32)
    lengths = np.square(small).sum(axis=1)
    start = int(np.square(small - small.mean(axis=0)).sum(axis=1).argmax())
    chosen, nearest = [start], np.full(len(small), np.inf, np.float32)
    # Several at a time of many points, which would take seconds; einsum, since threads of BLAS wait for one another.
    several = max(1, len(points) // 4000)
    while len(chosen) < count:
        for new in chosen[-several:]:
            distances = lengths + lengths[new] - 2 * np.einsum("nd,d->n", small, small[new])
            nearest = np.minimum(nearest, distances)
        size = min(several, count - len(chosen))
        chosen += np.argpartition(nearest, -size)[-size:].tolist()
    return np.array(chosen)


@dataclass(frozen=True)
class Compared:
    """Scores (N,) and maps (N, h, w) of a folder's images, and the threshold of its robust rule."""

    scores: np.ndarray
    maps: np.ndarray
    threshold: float
    warnings: list[str]


def compare(found: Sequence[Description], most: int = 64, seed: int = 0) -> Compared:
    """Score each image against others of the same folder, most of them good, without labels or references.

    The distance of a patch is the mean of the lowest 30% of its distances to the other images. In a second pass only
    the half with the lower scores serves for comparison, so that defects that occur often do not excuse each other.
    Each image is compared with at most `most` others: time and memory grow in proportion to the number of images.

    The rule: an image is defective if the logarithm of its score is more than `BATCH_DEVIATIONS` standard deviations
    above the mean; both are those of the normal distribution that has the same `LOWER` quantiles.

    Raises:
        InputError: fewer than `FEWEST` images.
    """
    if len(found) < FEWEST:
        raise InputError(f"--compare: {len(found)} images; give at least {FEWEST}, or references (`edgezsad adapt`)")
    random, everyone = np.random.default_rng(seed), np.arange(len(found))
    first, _, ratios = _scores_against(found, everyone, most, random, "compare, first pass")
    better = np.argsort(first)[: max(FEWEST - 1, len(found) // 2)]
    scores, distances, _ = _scores_against(found, better, most, random, "compare, second pass")
    low, high = np.quantile(np.log(scores), LOWER)
    deviation = max(float(high - low) / (LOWER_NORMAL[1] - LOWER_NORMAL[0]), SMALLEST_DEVIATION)
    mean = float(high) - LOWER_NORMAL[1] * deviation
    level, threshold = float(np.exp(mean)), float(np.exp(mean + BATCH_DEVIATIONS * deviation))
    warnings = []
    if len(found) < RELIABLE:
        warnings.append(f"{len(found)} images are few; from {RELIABLE} on the comparison is reliable")
    if np.median(ratios) > MIXED:
        warnings.append("the images differ much from one another; give images of one part and one camera")
    if (share := float((scores >= threshold).mean())) > 0.3:
        warnings.append(f"{share:.0%} of the images stand out; more than a third of defective images cannot be judged")
    rescale = lambda values: GAIN * (values / level - 1)  # noqa: E731
    side = int(len(found[0].own) ** 0.5)
    return Compared(rescale(scores), rescale(distances.reshape(-1, side, side)), float(rescale(threshold)), warnings)


def _scores_against(
    found: Sequence[Description], others: np.ndarray, most: int, random: np.random.Generator, what: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compare all images with (a sample of) the `others`.

    Returns scores (N,), distances (N, cells), and the ratio (N,) of each image's distances to far and near ones.
    """
    scores, maps, ratios = [], [], []
    for row, one in enumerate(progress(found, what)):
        chosen = others[others != row]
        if len(chosen) > most:
            chosen = random.choice(chosen, most, replace=False)
        distances = np.array([one.distances(found[other].bank, found[other].offset) for other in chosen])
        near, far = np.quantile(distances.mean(axis=1), (0.1, 0.9))
        ratios.append(far / near)
        nearest = np.sort(distances, axis=0)[: max(1, int(np.ceil(NEAREST_SHARE * len(chosen))))].mean(axis=0)
        maps.append(nearest + OWN_WEIGHT * one.own)
        scores.append(score_of(maps[-1]))
    return np.array(scores), np.array(maps, dtype=np.float32), np.array(ratios)
