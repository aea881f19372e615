"""The images of those public sets whose list of files is not public: the published numbers, named as in the set."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from edgezsad.data.adapters import REAL_IAD_DEFECTS
from edgezsad.data.descriptors import Descriptor
from edgezsad.data.manifest import NORMAL


@dataclass(frozen=True)
class Made:
    """One image of a replica, and what a right index says of it.

    Attributes:
        image, mask: paths below the root; `mask` is the file that an index names, empty where it names none.
        category, split, label, defect: as in `Entry`.
        blank: a mask without a defect, which lies there but which an index does not name; empty in most sets.
        value: of the mask's defective pixels.
    """

    image: str
    category: str
    split: str
    label: int
    defect: str
    mask: str = ""
    blank: str = ""
    value: int = 255


def _shares(total: int | None, parts: int, default: int) -> list[int]:
    """`total` in `parts` nearly equal numbers; `default` for each where the total is unknown."""
    if total is None:
        return [default] * parts
    return [total // parts + (part < total % parts) for part in range(parts)]


def _numbers(descriptor: Descriptor, default: int = 0) -> Iterator[tuple[str, dict[str, int]]]:
    """For each category its number of normal and defective images in train and test, adding up to what is published.

    Where only the whole set's numbers are published they are shared out.
    """
    categories = descriptor.expected.categories
    names = ("train_normal", "train_defective", "test_normal", "test_defective")
    shared = {
        name: _shares(getattr(descriptor.expected.total, name), len(categories), default if name != names[1] else 0)
        for name in names
    }
    for place, (category, counts) in enumerate(categories.items()):
        stated = {name: getattr(counts, name) for name in names}
        yield category, {n: shared[n][place] if value is None else value for n, value in stated.items()}


def _btad(descriptor: Descriptor) -> Iterator[Made]:
    """Normal ones are `ok`; .bmp and .png, and in the first category the masks have another ending than the images."""
    endings = {"01": (".bmp", ".png"), "02": (".png", ".png"), "03": (".bmp", ".bmp")}
    for category, counts in _numbers(descriptor):
        image, mask = endings[category]
        base = f"BTech_Dataset_transformed/{category}"
        for split in ("train", "test"):
            for number in range(counts[f"{split}_normal"]):
                yield Made(f"{base}/{split}/ok/{number:04d}{image}", category, split, 0, NORMAL)
        for number in range(counts["test_defective"]):
            truth = f"{base}/ground_truth/ko/{number:04d}{mask}"
            yield Made(f"{base}/test/ko/{number:04d}{image}", category, "test", 1, "ko", truth)


def _ksdd2(descriptor: Descriptor) -> Iterator[Made]:
    """Every image has a mask beside it, empty for a normal one; normal and defective ones are mixed."""
    ((category, counts),) = _numbers(descriptor)
    for split, first in (("train", 10000), ("test", 20000)):
        normal, defective = counts[f"{split}_normal"], counts[f"{split}_defective"]
        for number in range(normal + defective):
            base = f"{split}/{first + number}"
            if _is_defective(number, defective, normal + defective):
                yield Made(f"{base}.png", category, split, 1, "defective", f"{base}_GT.png")
            else:
                yield Made(f"{base}.png", category, split, 0, NORMAL, blank=f"{base}_GT.png")


def _dagm(descriptor: Descriptor) -> Iterator[Made]:
    """A mask for defective images only, `Label/NNNN_label.PNG`; how many of a class are in each split is made up."""
    classes = descriptor.expected.categories
    defective_left = sum(counts.get("defective") or 0 for counts in classes.values())
    train_left = descriptor.expected.total.train_defective or 0
    for category, counts in classes.items():
        images, defective = (counts.get("images") or 0) // 2, counts.get("defective") or 0
        defective_left -= defective
        train = train_left - defective_left // 2
        train_left -= train
        for split, first, bad in (("train", images + 1, train), ("test", 1, defective - train)):
            base = f"{category}/{split.capitalize()}"
            for place in range(images):
                image = f"{base}/{first + place:04d}.PNG"
                if _is_defective(place, bad, images):
                    yield Made(image, category, split, 1, "defective", f"{base}/Label/{first + place:04d}_label.PNG")
                else:
                    yield Made(image, category, split, 0, NORMAL)


def _is_defective(place: int, defective: int, images: int) -> bool:
    """Spreads the defective ones evenly, so that a file's number does not tell its label."""
    return defective * (place + 1) // images > defective * place // images


def _dtd(descriptor: Descriptor) -> Iterator[Made]:
    """MVTec's layout with one kind of defect; the number of training images is made up."""
    for category, counts in _numbers(descriptor, default=100):
        for split in ("train", "test"):
            for number in range(counts[f"{split}_normal"]):
                yield Made(f"{category}/{split}/good/{number:03d}.png", category, split, 0, NORMAL)
        for number in range(counts["test_defective"]):
            truth = f"{category}/ground_truth/bad/{number:03d}_mask.png"
            yield Made(f"{category}/test/bad/{number:03d}.png", category, "test", 1, "bad", truth)


def _real_iad(descriptor: Descriptor) -> Iterator[Made]:
    """Five views of every object; the views of a defective one that do not show the defect are listed as OK."""
    for category, counts in _numbers(descriptor):
        base = f"realiad_1024/{category}"
        normal = itertools.chain(
            itertools.repeat("train", counts["train_normal"]), itertools.repeat("test", counts["test_normal"])
        )
        for place in range(counts["test_defective"]):
            # Four views of every defective object show the defect.
            number, view = divmod(place, 4)
            kind = REAL_IAD_DEFECTS[number % len(REAL_IAD_DEFECTS)]
            where = f"{base}/NG/{kind}/S{number:04d}/{category}_{number:04d}_NG_{kind}_C"
            image = f"{where}{view + 1}_20231021133301"
            yield Made(f"{image}.jpg", category, "test", 1, kind, f"{image}.png")
            if view == 3 and counts["test_normal"] > number:
                yield Made(f"{where}5_20231021133301.jpg", category, "test", 0, NORMAL)
        hidden = min(counts["test_defective"] // 4, counts["test_normal"])
        for place, split in enumerate(
            itertools.islice(normal, counts["train_normal"] + counts["test_normal"] - hidden)
        ):
            number, view = divmod(place, 5)
            name = f"{category}_{number:04d}_OK_C{view + 1}_20231021133301.jpg"
            yield Made(f"{base}/OK/S{number:04d}/{name}", category, split, 0, NORMAL)


BY_COUNTS: dict[str, Callable[[Descriptor], Iterable[Made]]] = {
    "btad": _btad,
    "ksdd2": _ksdd2,
    "dagm": _dagm,
    "dtd": _dtd,
    "real_iad": _real_iad,
}
