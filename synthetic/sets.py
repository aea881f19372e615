"""Write a generated data set in the folder structure of a benchmark; the files do not depend on the workers."""

import multiprocessing
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from itertools import count
from pathlib import Path

import cv2
import numpy as np

from edgezsad.errors import InputError
from edgezsad.files import progress, write_json
from synthetic.defects import COMPONENT_KINDS, KINDS
from synthetic.image import Address, defect_of, defective_image, normal_image
from synthetic.scene import find

RECORD = "generated.json"  # settings of a generated set; a folder without this file is never replaced

_NUMBERS = [*KINDS, *COMPONENT_KINDS]
REAL_IAD_CODES = ("AK", "BX", "CH", "HS", "PS", "QS", "YW", "ZW")


@dataclass(frozen=True)
class SetSpec:
    """A data set to generate; each family makes one category."""

    name: str  # seeds the images together with the family
    layout: str  # folder structure, a key of `LAYOUTS`
    families: tuple[str, ...]  # names in `FAMILIES`
    train_normal: int  # images per category
    test_normal: int
    test_defective: int
    size: tuple[int, int] = (320, 320)  # (height, width) in pixels
    randomise: bool = False  # strong domain randomisation


@dataclass(frozen=True)
class Job:
    """One image to render; `image` and `mask` (may be empty) are paths below the set's root."""

    address: Address
    image: str
    mask: str
    defective: bool
    mask_value: int = 255


def generate_set(spec: SetSpec, root: Path | str, seed: int, workers: int) -> Path:
    """Render a data set into the folder `root`; a complete new set replaces an earlier one, but no other files."""
    root, jobs = Path(root), plan(spec, seed)
    if workers < 1:
        raise InputError(f"workers is {workers}; give 1 or more")
    if root.exists() and not (root.is_dir() and ((root / RECORD).is_file() or not any(root.iterdir()))):
        raise InputError(f"{root}: not a generated data set; move it or give another folder")
    root.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{root.name}.", dir=root.parent))
    try:
        new = temporary / "new"
        for folder in {(new / name).parent for job in jobs for name in (job.image, job.mask) if name}:
            folder.mkdir(parents=True, exist_ok=True)
        list(progress(_rendered(jobs, new, workers), f"generate {spec.name}", len(jobs)))
        if spec.layout in _LISTS:
            _LISTS[spec.layout](jobs, new)
        settings = {key: value for key, value in asdict(spec).items() if key not in ("name", "layout")}
        write_json(new / RECORD, {"name": spec.name, "seed": seed, **settings})
        _swap(new, root, temporary / "old")
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return root


def plan(spec: SetSpec, seed: int) -> list[Job]:
    """List the images of a set with their files, in a fixed order."""
    for name in spec.families:
        find(name)
    if len(set(spec.families)) != len(spec.families):
        raise InputError(f"data set {spec.name}: a family is listed twice; list each once")
    if spec.layout not in LAYOUTS:
        raise InputError(f"data set {spec.name}: unknown layout {spec.layout}; use one of {', '.join(LAYOUTS)}")
    return list(LAYOUTS[spec.layout](spec, seed))


def _addresses(spec: SetSpec, seed: int, family: str) -> Iterator[tuple[Address, bool]]:
    """Yield the images of one family and whether they are defective."""
    at = partial(Address, seed, spec.name, family, size=spec.size, wild=spec.randomise)
    yield from ((at(split="train", index=index), False) for index in range(spec.train_normal))
    yield from ((at(split="test", index=index), False) for index in range(spec.test_normal))
    yield from ((at(split="test", index=index), True) for index in range(spec.test_defective))


def _mvtec(spec: SetSpec, seed: int) -> Iterator[Job]:
    """CAT/train/good, CAT/test/good, CAT/test/DEFECT, CAT/ground_truth/DEFECT/NNN_mask.png."""
    for family in spec.families:
        numbers: dict[str, Iterator[int]] = defaultdict(count)
        for address, defective in _addresses(spec, seed, family):
            kind = defect_of(address) if defective else "good"
            number = f"{next(numbers[address.split + kind]):03d}"
            mask = f"{family}/ground_truth/{kind}/{number}_mask.png" if defective else ""
            yield Job(address, f"{family}/{address.split}/{kind}/{number}.png", mask, defective)


def _visa(spec: SetSpec, seed: int) -> Iterator[Job]:
    """CAT/Data/Images/{Normal,Anomaly}/*.JPG and CAT/Data/Masks/Anomaly/NNN.png with small class numbers."""
    for family in spec.families:
        for number, (address, defective) in enumerate(_addresses(spec, seed, family)):
            name = f"Anomaly/{address.index:03d}" if defective else f"Normal/{number:04d}"
            mask = f"{family}/Data/Masks/{name}.png" if defective else ""
            value = _NUMBERS.index(defect_of(address)) + 1 if defective else 255
            yield Job(address, f"{family}/Data/Images/{name}.JPG", mask, defective, value)


def _btad(spec: SetSpec, seed: int) -> Iterator[Job]:
    """BTech_Dataset_transformed/01, 02, ...; the first category has bitmaps with PNG masks, as in the real set."""
    for number, family in enumerate(spec.families, start=1):
        base, ending = f"BTech_Dataset_transformed/{number:02d}", "bmp" if number == 1 else "png"
        for address, defective in _addresses(spec, seed, family):
            kind = "ko" if defective else "ok"
            mask = f"{base}/ground_truth/ko/{address.index:04d}.png" if defective else ""
            yield Job(address, f"{base}/{address.split}/{kind}/{address.index:04d}.{ending}", mask, defective)


def _ksdd2(spec: SetSpec, seed: int) -> Iterator[Job]:
    """{train,test}/NNNNN.png, each with NNNNN_GT.png; normal and defective images are mixed, as in the real set."""
    images = [pair for family in spec.families for pair in _addresses(spec, seed, family)]
    for split, first in (("train", 10000), ("test", 20000)):
        chosen = [pair for pair in images if pair[0].split == split]
        # A fixed shuffle: otherwise the file's number would reveal the label.
        order = np.random.default_rng([seed % 2**32, first]).permutation(len(chosen))
        for number, pick in enumerate(order, start=first):
            address, defective = chosen[pick]
            yield Job(address, f"{split}/{number:05d}.png", f"{split}/{number:05d}_GT.png", defective)


def _dagm(spec: SetSpec, seed: int) -> Iterator[Job]:
    """ClassN/{Train,Test}/NNNN.PNG, and Label/NNNN_label.PNG for defective images only."""
    for number, family in enumerate(spec.families, start=1):
        for index, (address, defective) in enumerate(_addresses(spec, seed, family), start=1):
            base = f"Class{number}/{address.split.capitalize()}"
            mask = f"{base}/Label/{index:04d}_label.PNG" if defective else ""
            yield Job(address, f"{base}/{index:04d}.PNG", mask, defective)


def _real_iad(spec: SetSpec, seed: int) -> Iterator[Job]:
    """realiad_1024/CAT/{OK,NG/CODE}/SNNNN/*.jpg with masks next to them; cameras C1 to C5 in turn."""
    for family in spec.families:
        for index, (address, defective) in enumerate(_addresses(spec, seed, family)):
            kind = f"NG_{_real_iad_code(address)}" if defective else "OK"
            folder = f"realiad_1024/{family}/{kind.replace('_', '/')}/S{index:04d}"
            image = f"{folder}/{family}_{index:04d}_{kind}_C{address.index % 5 + 1}_20231021133301"
            yield Job(address, f"{image}.jpg", f"{image}.png" if defective else "", defective)


def _real_iad_code(address: Address) -> str:
    return REAL_IAD_CODES[_NUMBERS.index(defect_of(address)) % len(REAL_IAD_CODES)]


LAYOUTS: dict[str, Callable[[SetSpec, int], Iterator[Job]]] = {
    "mvtec": _mvtec, "mpdd": _mvtec, "dtd": _mvtec, "visa": _visa, "btad": _btad, "ksdd2": _ksdd2, "dagm": _dagm,
    "real_iad": _real_iad,
}  # fmt: skip


def _write_visa_list(jobs: list[Job], root: Path) -> None:
    """Write the authors' one-class split: object,split,label,image,mask."""
    (root / "split_csv").mkdir()
    lines = ["object,split,label,image,mask\n"]
    for job in jobs:
        label = "anomaly" if job.defective else "normal"
        lines.append(f"{job.address.family},{job.address.split},{label},{job.image},{job.mask}\n")
    (root / "split_csv" / "1cls.csv").write_text("".join(lines), encoding="utf-8", newline="\n")


def _write_real_iad_lists(jobs: list[Job], root: Path) -> None:
    """Write realiad_jsons/realiad_jsons/CATEGORY.json, whose paths are relative to realiad_1024/CATEGORY."""
    for category in dict.fromkeys(job.address.family for job in jobs):
        prefix = f"realiad_1024/{category}/"
        content: dict = {"meta": {"prefix": f"{category}/", "normal_class": "OK", "pre_transform": None}}
        content |= {"train": [], "test": []}
        for job in (job for job in jobs if job.address.family == category):
            row = {"category": category, "anomaly_class": _real_iad_code(job.address) if job.defective else "OK"}
            row |= {"image_path": job.image.removeprefix(prefix), "mask_path": job.mask.removeprefix(prefix) or None}
            content[job.address.split].append(row)
        write_json(root / "realiad_jsons" / "realiad_jsons" / f"{category}.json", content)


_LISTS = {"visa": _write_visa_list, "real_iad": _write_real_iad_lists}


def _rendered(jobs: list[Job], root: Path, workers: int) -> Iterator[None]:
    """Render all images, in this process or in `workers` spawned ones; yield once for each."""
    if workers == 1:
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        try:
            yield from (render(job, root) for job in jobs)
        finally:
            cv2.setNumThreads(threads)
        return
    context = multiprocessing.get_context("spawn")
    # The workers share the cores: OpenCV must not start more threads in each.
    pool = ProcessPoolExecutor(min(workers, len(jobs)), context, initializer=cv2.setNumThreads, initargs=(1,))
    try:
        yield from pool.map(partial(render, root=root), jobs, chunksize=8)
    finally:
        pool.shutdown(cancel_futures=True)


def render(job: Job, root: Path) -> None:
    """Render one image and write its files below `root`."""
    if job.defective:
        image, mask = defective_image(job.address)
    else:
        image, mask = normal_image(job.address), np.zeros(job.address.size, bool)
    _write(root / job.image, image[..., ::-1])
    if job.mask:
        _write(root / job.mask, mask.astype(np.uint8) * np.uint8(job.mask_value))


def _write(path: Path, pixels: np.ndarray) -> None:
    """Encode in memory and write: OpenCV's own writer ignores a full disk."""
    suffix, options = path.suffix.lower(), {".jpg": [cv2.IMWRITE_JPEG_QUALITY, 95], ".bmp": []}
    options[".png"] = [cv2.IMWRITE_PNG_COMPRESSION, 1]
    if pixels.ndim == 3:
        # Sensor noise does not repeat: searching for repeats takes half the time and saves nothing.
        options[".png"] += [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY]
    path.write_bytes(cv2.imencode(suffix, np.ascontiguousarray(pixels), options[suffix])[1].tobytes())


def _swap(new: Path, root: Path, old: Path) -> None:
    """Rename `new` to `root`; if that fails, restore what was there."""
    if root.exists():
        root.replace(old)
    try:
        new.replace(root)
    finally:
        if old.exists() and not root.exists():
            old.replace(root)
