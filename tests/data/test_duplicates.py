"""The leak check finds planted copies, reports them, and reports no different images."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from edgezsad.data.duplicates import check_disjoint, near_duplicates, thumbnail
from edgezsad.data.manifest import Entry, Manifest
from edgezsad.errors import CheckError
from edgezsad.files import sha256_of_file


def noise(seed: int, shape: tuple[int, int], cells: int, height: float) -> np.ndarray:
    coarse = np.random.default_rng(seed).normal(0, height, (cells, cells)).astype(np.float32)
    return cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC)


def texture(seed: int, shape: tuple[int, int]) -> np.ndarray:
    return 120 + noise(seed, shape, 40, 25) + noise(seed + 1, shape, 100, 10)


def part(seed: int, shape: tuple[int, int]) -> np.ndarray:
    """A bright shape with holes on a dark ground, and a camera's noise."""
    generator = np.random.default_rng(seed)
    image = np.full(shape, 40, dtype=np.float32)
    points = generator.uniform(0.1, 0.9, (5, 2)) * shape[::-1]
    cv2.fillConvexPoly(image, cv2.convexHull(points.astype(np.int32)), 190)
    for x, y in generator.uniform(0.2, 0.8, (4, 2)) * shape[::-1]:
        cv2.circle(image, (int(x), int(y)), max(2, min(shape) // 15), 70, -1)
    return image + generator.normal(0, 3, shape)


def dark(seed: int, shape: tuple[int, int]) -> np.ndarray:
    return 14 + noise(seed, shape, 12, 4) + np.random.default_rng(seed).normal(0, 1.5, shape)


KINDS = {"texture": texture, "part": part, "dark": dark}
SHAPES = {"square": (256, 256), "tall": (630, 230), "wide": (192, 448)}


def coloured(values: np.ndarray) -> Image.Image:
    """RGB whose channels differ a little."""
    return Image.fromarray(np.stack([values * gain for gain in (1.0, 0.9, 0.8)], axis=2).clip(0, 255).astype(np.uint8))


def saved(image: Image.Image, path: Path, **options: int) -> Path:
    image.save(path, **options)
    return path


def thumbnails(*paths: Path) -> np.ndarray:
    return np.stack([thumbnail(path) for path in paths])


def found(source: Path, target: Path) -> list[str]:
    return [one.relation for one in near_duplicates(thumbnails(source), thumbnails(target))[0]]


Turn = Image.Transpose
SAME, TURNED = "re-encoded or resized", "rotated or mirrored"
SCALE = Image.Resampling.LANCZOS
COPIES = {
    "bmp": (lambda i: i, "copy.bmp", {}, SAME),
    "jpeg": (lambda i: i, "copy.jpg", {"quality": 60}, SAME),
    "smaller": (lambda i: i.resize((i.width * 6 // 10, i.height * 6 // 10), SCALE), "copy.png", {}, SAME),
    "square": (lambda i: i.resize((200, 200), SCALE), "copy.png", {}, SAME),
    "grey": (lambda i: i.convert("L"), "copy.png", {}, SAME),
    "brighter": (lambda i: i.point(lambda v: v * 1.1 + 4), "copy.png", {}, SAME),
    "mirrored": (lambda i: i.transpose(Turn.FLIP_LEFT_RIGHT), "copy.png", {}, TURNED),
    "upside down": (lambda i: i.transpose(Turn.FLIP_TOP_BOTTOM), "copy.jpg", {"quality": 80}, TURNED),
    "rotated by 180": (lambda i: i.transpose(Turn.ROTATE_180), "copy.png", {}, TURNED),
    "rotated by 90": (lambda i: i.transpose(Turn.ROTATE_90), "copy.jpg", {"quality": 80}, TURNED),
    "transposed": (lambda i: i.transpose(Turn.TRANSPOSE), "copy.png", {}, TURNED),
    "mirrored, smaller, jpeg": (
        lambda i: i.transpose(Turn.FLIP_LEFT_RIGHT).resize((i.width * 7 // 10, i.height * 7 // 10), SCALE),
        "copy.jpg", {"quality": 75}, TURNED,
    ),
}  # fmt: skip
"""Name: what is done, the file, how it is saved, and the relation that is reported."""


@pytest.mark.parametrize("copy", COPIES)
@pytest.mark.parametrize(("kind", "shape"), list(zip(KINDS, SHAPES, strict=True)))
def test_every_copy_is_found(tmp_path: Path, kind: str, shape: str, copy: str) -> None:
    change, name, options, relation = COPIES[copy]
    image = coloured(KINDS[kind](7, SHAPES[shape]))
    original = saved(image, tmp_path / "original.png")
    other = saved(change(image), tmp_path / name, **options)
    assert found(original, other) == [relation]
    assert len(found(other, original)) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_different_images_are_not_reported(tmp_path: Path, kind: str) -> None:
    """Neither of one kind, where only the seed differs, nor of two."""
    paths = [saved(coloured(KINDS[kind](seed, (256, 256))), tmp_path / f"{seed}.png") for seed in range(0, 20, 2)]
    others = [
        saved(coloured(draw(1000 + seed, (256, 256))), tmp_path / f"{name}{seed}.jpg")
        for name, draw in KINDS.items()
        for seed in range(0, 10, 2)
    ]
    assert near_duplicates(thumbnails(*paths), thumbnails(*others))[0] == []


def test_images_without_contrast_are_not_candidates(tmp_path: Path) -> None:
    blank = thumbnails(saved(Image.new("L", (40, 30), 9), tmp_path / "blank.png")).repeat(1000, axis=0)
    assert not blank.any()
    assert near_duplicates(blank, blank) == ([], 0)


@pytest.mark.parametrize("side", [1025, 1033])
def test_a_jpeg_decoded_at_reduced_scale_is_not_shifted(tmp_path: Path, side: int) -> None:
    image = Image.fromarray(texture(3, (side, side)).clip(0, 255).astype(np.uint8))
    exact, reduced = thumbnails(saved(image, tmp_path / "a.png"), saved(image, tmp_path / "a.jpg", quality=95))
    assert np.corrcoef(exact.ravel(), reduced.ravel())[0, 1] > 0.999


def image(seed: int) -> Image.Image:
    grid = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    return Image.fromarray(grid).resize((150, 120), Image.Resampling.BICUBIC)


def manifest(root: Path, name: str, **images: Image.Image) -> Manifest:
    """A data set on disk; an image whose name ends in _jpg is saved as JPEG."""
    (root / name).mkdir(exist_ok=True)
    entries = []
    for key, one in images.items():
        path = saved(one, root / name / (f"{key[:-4]}.jpg" if key.endswith("_jpg") else f"{key}.png"))
        entries.append(Entry(path.name, "bolt", "test", 0, "good", "", *one.size, sha256_of_file(path), ""))
    return Manifest(name, root / name, tuple(entries))


def test_disjoint_sets_pass_with_their_counts(tmp_path: Path) -> None:
    sources = [manifest(tmp_path, "s1", a=image(1), b=image(2), c=image(2)), manifest(tmp_path, "s2", a=image(3))]
    targets = [manifest(tmp_path, "t", a=image(4), b=Image.new("L", (40, 40), 9))]
    check = check_disjoint(sources, targets)
    assert (check["source_images"], check["target_images"], check["unproven_images"], check["overlaps"]) == (4, 2, 1, 0)


def test_a_planted_file_is_found(tmp_path: Path) -> None:
    sources = [manifest(tmp_path, "s1", a=image(1)), manifest(tmp_path, "s2", other=image(9))]
    targets = [manifest(tmp_path, "t1", a=image(4)), manifest(tmp_path, "t2", b=image(5), victim=image(9))]
    with pytest.raises(CheckError, match=r"t2/victim\.png: copy of the source's .*s2/other\.png, the same file"):
        check_disjoint(sources, targets)


def test_planted_copies_are_found(tmp_path: Path) -> None:
    mirrored = image(9).transpose(Turn.FLIP_LEFT_RIGHT)
    sources = [manifest(tmp_path, "s1", a=image(1)), manifest(tmp_path, "s2", one_jpg=mirrored, two_jpg=image(8))]
    targets = [manifest(tmp_path, "t", a=image(4), victim=image(9), other=image(8))]
    with pytest.raises(CheckError, match=r"s2/one\.jpg, rotated or mirrored \(2 such target images\)"):
        check_disjoint(sources, targets)
