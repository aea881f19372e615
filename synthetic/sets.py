"""Writes a generated data set to disk in the folder structure of the benchmark it stands for.

The files are the same whatever the number of workers. A set appears whole or not at all: it is written beside its place
and then renamed, so an interrupted run leaves the earlier set where it was.
"""

import csv
import multiprocessing
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from edgezsad.errors import InputError
from edgezsad.files import write_json
from synthetic.defects import COMPONENT_KINDS, KINDS
from synthetic.image import Address, defect_of, defective_image, normal_image
from synthetic.registry import find

RECORD = "generated.json"
"""Lies in the root of every generated set and says what made it; only a folder that has it is ever replaced."""


@dataclass(frozen=True)
class SetSpec:
    """A data set to generate. Counts are per category; each family makes one category.

    Attributes:
        name: the data set's name; it decides the images' random numbers.
        layout: folder structure, a key of `LAYOUTS`.
        families: names in `FAMILIES`.
        train_normal, test_normal, test_defective: number of images.
        size: (height, width) in pixels.
        randomise: strong domain randomisation.
    """

    name: str
    layout: str
    families: tuple[str, ...]
    train_normal: int
    test_normal: int
    test_defective: int
    size: tuple[int, int] = (320, 320)
    randomise: bool = False


@dataclass(frozen=True)
class Job:
    """One image to be made: where it stands and, relative to the set's root, which files it fills.

    Attributes:
        address: what to draw.
        image: the image's file; its ending is the format.
        mask: the mask's file, or empty.
        defective: whether to draw a defect.
        mask_value: value of defective pixels in the mask.
    """

    address: Address
    image: str
    mask: str
    defective: bool
    mask_value: int = 255


def generate_set(
    spec: SetSpec,
    root: Path,
    seed: int,
    workers: int,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Make a generated data set; an earlier one at `root` is replaced once the new one is complete.

    Args:
        spec: what to make.
        root: the data set's folder.
        seed: the profile's data seed.
        workers: processes; 1 works in this one. The files do not depend on it.
        progress: called with (images made, images in all).

    Returns:
        `root`.

    Raises:
        InputError: an unknown family, a layout that is not generated, fewer than one worker, or
            a folder at `root` that this function did not make.
    """
    root = Path(root)
    if workers < 1:
        raise InputError(f"workers is {workers}; give 1 or more")
    jobs = plan(spec, seed)
    if root.exists() and not (root.is_dir() and ((root / RECORD).is_file() or not any(root.iterdir()))):
        raise InputError(f"{root}: is not a generated data set and is left alone; move it or give another root")
    root.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{root.name}.", dir=root.parent))
    try:
        beside.chmod(0o755)
        for folder in {str(Path(name).parent) for job in jobs for name in (job.image, job.mask) if name}:
            (beside / folder).mkdir(parents=True, exist_ok=True)
        for done, _ in enumerate(_made(jobs, beside, workers), start=1):
            if progress:
                progress(done, len(jobs))
        if spec.layout == "visa":
            _write_visa_split(jobs, beside)
        write_json(beside / RECORD, _record(spec, seed))
        _swap(beside, root)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return root


def _record(spec: SetSpec, seed: int) -> dict:
    settings = asdict(spec)
    del settings["name"], settings["layout"]
    return {"name": spec.name, "seed": seed, **settings}


def plan(spec: SetSpec, seed: int) -> list[Job]:
    """Every image of a set with the files it fills, in a fixed order.

    Raises:
        InputError: an unknown family or a layout that is not generated.
    """
    for name in spec.families:
        find(name)
    if len(set(spec.families)) != len(spec.families):
        raise InputError(f"data set {spec.name}: a family is listed twice; list each once")
    makers = {"mvtec": _mvtec, "mpdd": _mvtec, "dtd": _mvtec, "visa": _visa, "btad": _btad, "ksdd2": _ksdd2}
    if spec.layout not in makers:
        raise InputError(f"data set {spec.name}: layout {spec.layout} is not generated; use one of {', '.join(makers)}")
    return list(makers[spec.layout](spec, seed))


# ---- layouts ---------------------------------------------------------------------------------------------------


def _addresses(spec: SetSpec, seed: int, family: str) -> Iterator[tuple[Address, bool]]:
    """The images of one family: normal for training, normal and defective for testing."""
    at = partial(Address, seed, spec.name, family, size=spec.size, wild=spec.randomise)
    for split, count, defective in (
        ("train", spec.train_normal, False),
        ("test", spec.test_normal, False),
        ("test", spec.test_defective, True),
    ):
        for index in range(count):
            yield at(split=split, index=index), defective


def _mvtec(spec: SetSpec, seed: int) -> Iterator[Job]:
    """CAT/train/good, CAT/test/good, CAT/test/DEFECT, CAT/ground_truth/DEFECT/NNN_mask.png."""
    for family in spec.families:
        counts: dict[str, int] = {}
        for address, defective in _addresses(spec, seed, family):
            if not defective:
                yield Job(address, f"{family}/{address.split}/good/{address.index:03d}.png", "", False)
                continue
            kind = defect_of(address)
            number = counts[kind] = counts.get(kind, -1) + 1
            mask = f"{family}/ground_truth/{kind}/{number:03d}_mask.png"
            yield Job(address, f"{family}/test/{kind}/{number:03d}.png", mask, True)


def _visa(spec: SetSpec, seed: int) -> Iterator[Job]:
    """CAT/Data/Images/{Normal,Anomaly}/*.JPG and CAT/Data/Masks/Anomaly/NNN.png with small class numbers."""
    kinds = [*KINDS, *COMPONENT_KINDS]
    for family in spec.families:
        normal = 0
        for address, defective in _addresses(spec, seed, family):
            base = f"{family}/Data"
            if defective:
                number, value = f"{address.index:03d}", kinds.index(defect_of(address)) + 1
                files = f"{base}/Images/Anomaly/{number}.JPG", f"{base}/Masks/Anomaly/{number}.png"
                yield Job(address, *files, True, value)
            else:
                yield Job(address, f"{base}/Images/Normal/{normal:04d}.JPG", "", False)
                normal += 1


def _btad(spec: SetSpec, seed: int) -> Iterator[Job]:
    """BTech_Dataset_transformed/01, 02, ...; the first category's images are bitmaps with PNG masks, as in the set."""
    for number, family in enumerate(spec.families, start=1):
        base, ending = f"BTech_Dataset_transformed/{number:02d}", "bmp" if number == 1 else "png"
        for address, defective in _addresses(spec, seed, family):
            file = f"{address.index:04d}"
            kind = "ko" if defective else "ok"
            mask = f"{base}/ground_truth/ko/{file}.png" if defective else ""
            yield Job(address, f"{base}/{address.split}/{kind}/{file}.{ending}", mask, defective)


def _ksdd2(spec: SetSpec, seed: int) -> Iterator[Job]:
    """{train,test}/NNNNN.png, each with NNNNN_GT.png; normal and defective are mixed, as in the set."""
    images = [pair for family in spec.families for pair in _addresses(spec, seed, family)]
    for split, first in (("train", 10000), ("test", 20000)):
        chosen = [pair for pair in images if pair[0].split == split]
        # A fixed shuffle: otherwise the file's number would tell the label.
        order = np.random.default_rng([seed % 2**32, first]).permutation(len(chosen))
        for number, pick in enumerate(order, start=first):
            address, defective = chosen[pick]
            yield Job(address, f"{split}/{number:05d}.png", f"{split}/{number:05d}_GT.png", defective)


def _write_visa_split(jobs: list[Job], root: Path) -> None:
    """The authors' one-class split: object,split,label,image,mask."""
    folder = root / "split_csv"
    folder.mkdir()
    with open(folder / "1cls.csv", "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("object", "split", "label", "image", "mask"))
        for job in jobs:
            label = "anomaly" if job.defective else "normal"
            writer.writerow((job.address.family, job.address.split, label, job.image, job.mask))


# ---- making ----------------------------------------------------------------------------------------------------


def _made(jobs: list[Job], root: Path, workers: int) -> Iterator[None]:
    """Make all images, in this process or in `workers` spawned ones; yields once for each."""
    if workers == 1 or len(jobs) == 1:
        threads = cv2.getNumThreads()
        _one_thread()
        try:
            for job in jobs:
                yield make(job, root)
        finally:
            cv2.setNumThreads(threads)
        return
    # Spawned workers inherit nothing, so they behave alike on every platform. If one dies the pool says so.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context, initializer=_one_thread)
    try:
        yield from pool.map(partial(make, root=root), jobs, chunksize=8)
    finally:
        pool.shutdown(cancel_futures=True)


def _one_thread() -> None:
    """The workers share the cores; OpenCV must not start threads of its own in each."""
    cv2.setNumThreads(1)


def make(job: Job, root: Path) -> None:
    """Draw one image and write its files below `root`."""
    if job.defective:
        image, mask = defective_image(job.address)
    else:
        image, mask = normal_image(job.address), np.zeros(job.address.size, bool)
    _write(root / job.image, image[..., ::-1])
    if job.mask:
        _write(root / job.mask, mask.astype(np.uint8) * np.uint8(job.mask_value))


def _write(path: Path, pixels: np.ndarray) -> None:
    """Encode in memory and write: OpenCV's own writer fails silently on a full disk or an odd path."""
    options = [cv2.IMWRITE_JPEG_QUALITY, 95] if path.suffix == ".JPG" else []
    if path.suffix == ".png":
        options = [cv2.IMWRITE_PNG_COMPRESSION, 1]
        if pixels.ndim == 3:
            # Sensor noise does not repeat, so searching for repeats costs half the time and saves nothing.
            options += [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY]
    done, data = cv2.imencode(path.suffix.lower(), np.ascontiguousarray(pixels), options)
    if not done:
        raise RuntimeError(f"{path}: could not be encoded")
    path.write_bytes(data.tobytes())


def _swap(beside: Path, root: Path) -> None:
    """Put the finished folder in its place; should that fail, the earlier one is put back."""
    if not root.exists():
        beside.replace(root)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{root.name}.old.", dir=root.parent))
    root.replace(old / "set")
    try:
        beside.replace(root)
    except BaseException:
        (old / "set").replace(root)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
