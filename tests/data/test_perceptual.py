"""Near-duplicates: every kind of copy is found, in pictures of several kinds, and different pictures are left alone."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.fft import idctn

from edgezsad.data import perceptual
from edgezsad.data.fingerprints import FAINT, LEVELS, SIDE, Fingerprints, fingerprint, stacked
from edgezsad.data.hamming import near
from edgezsad.data.perceptual import (
    BITS,
    LARGEST_RESIDUAL,
    LEAST_CORRELATION,
    VIEWS,
    Match,
    agreement,
    at_finer_scale,
    hashes,
    near_duplicates,
    view,
)
from edgezsad.errors import InputError


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


def saved(image: Image.Image, path: Path, **options) -> Path:
    image.save(path, **options)
    return path


def prints(*paths: Path) -> Fingerprints:
    return stacked([fingerprint(path) for path in paths])


def found(source: Path, target: Path) -> list[str]:
    confirm = at_finer_scale([source], [target])
    return [match.relation for match in near_duplicates(prints(source), prints(target), confirm=confirm)[0]]


Turn = Image.Transpose
SCALE = Image.Resampling.LANCZOS
COPIES = {
    "png": (lambda i: i, "copy.png", {}, VIEWS[0]),
    "bmp": (lambda i: i, "copy.bmp", {}, VIEWS[0]),
    "jpeg 95": (lambda i: i, "copy.jpg", {"quality": 95}, VIEWS[0]),
    "jpeg 60": (lambda i: i, "copy.jpg", {"quality": 60}, VIEWS[0]),
    "smaller": (lambda i: i.resize((i.width * 6 // 10, i.height * 6 // 10), SCALE), "copy.png", {}, VIEWS[0]),
    "larger": (lambda i: i.resize((i.width * 7 // 4, i.height * 7 // 4), SCALE), "copy.jpg", {}, VIEWS[0]),
    "square": (lambda i: i.resize((200, 200), SCALE), "copy.png", {}, VIEWS[0]),
    "grey": (lambda i: i.convert("L"), "copy.png", {}, VIEWS[0]),
    "darker": (lambda i: i.point(lambda v: v * 0.9), "copy.png", {}, VIEWS[0]),
    "brighter": (lambda i: i.point(lambda v: v * 1.1 + 4), "copy.png", {}, VIEWS[0]),
    "mirrored": (lambda i: i.transpose(Turn.FLIP_LEFT_RIGHT), "copy.png", {}, VIEWS[1]),
    "upside down": (lambda i: i.transpose(Turn.FLIP_TOP_BOTTOM), "copy.jpg", {"quality": 80}, VIEWS[2]),
    "turned by 180": (lambda i: i.transpose(Turn.ROTATE_180), "copy.png", {}, VIEWS[3]),
    "turned by 90": (lambda i: i.transpose(Turn.ROTATE_90), "copy.jpg", {"quality": 80}, VIEWS[5]),
    "turned by 270": (lambda i: i.transpose(Turn.ROTATE_270), "copy.png", {}, VIEWS[5]),
    "transposed": (lambda i: i.transpose(Turn.TRANSPOSE), "copy.png", {}, VIEWS[4]),
    "mirrored, smaller, jpeg": (
        lambda i: i.transpose(Turn.FLIP_LEFT_RIGHT).resize((i.width * 7 // 10, i.height * 7 // 10), SCALE),
        "copy.jpg", {"quality": 75}, VIEWS[1],
    ),
}  # fmt: skip
"""Name: what is done, the file, how it is saved, and what the check should say."""


@pytest.mark.parametrize("copy", COPIES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_copy_is_found_and_named(tmp_path: Path, kind: str, shape: str, copy: str) -> None:
    change, name, options, relation = COPIES[copy]
    image = coloured(KINDS[kind](7, SHAPES[shape]))
    original = saved(image, tmp_path / "original.png")
    other = saved(change(image), tmp_path / name, **options)
    assert found(original, other) == [relation]
    assert len(found(other, original)) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_different_pictures_are_not_reported(tmp_path: Path, kind: str) -> None:
    """Not of one kind, where only the seed differs, nor of two."""
    paths = [saved(coloured(KINDS[kind](seed, (256, 256))), tmp_path / f"{seed}.png") for seed in range(0, 40, 2)]
    others = [
        saved(coloured(draw(1000 + seed, (256, 256))), tmp_path / f"{name}{seed}.jpg")
        for name, draw in KINDS.items()
        for seed in range(0, 20, 2)
    ]
    assert near_duplicates(prints(*paths), prints(*others))[0] == []


def test_the_same_part_photographed_again_is_not_a_copy(tmp_path: Path) -> None:
    """By one camera in one place: the hashes are near, the pixels differ where the part has a defect."""
    scene = part(3, (256, 256))
    again = scene + np.random.default_rng(9).normal(0, 3, scene.shape)
    cv2.circle(again, (128, 128), 14, 220, -1)
    paths = [saved(coloured(one), tmp_path / f"{n}.png") for n, one in enumerate((scene, again))]
    matches, candidates = near_duplicates(prints(paths[0]), prints(paths[1]))
    assert matches == []
    assert candidates >= 1


def test_the_best_of_several_sources_is_named(tmp_path: Path) -> None:
    images = [coloured(part(seed, (200, 200))) for seed in (1, 2, 3)]
    sources = [saved(image, tmp_path / f"{n}.png") for n, image in enumerate(images)]
    sources.append(saved(images[1], tmp_path / "poor.jpg", quality=60))
    target = saved(images[1].transpose(Turn.FLIP_LEFT_RIGHT), tmp_path / "target.png")
    (match,), _ = near_duplicates(prints(*sources), prints(target), workers=2)
    assert (match.source, match.target, match.relation) == (1, 0, VIEWS[1])
    assert match.residual < 0.1 and match.correlation > 0.99


# What shows nothing, and sizes and depths out of the ordinary ---------------------------------------------------------


def test_blank_sheets_are_compared_by_their_pixels(tmp_path: Path) -> None:
    """Two blank sheets with their own grain have nothing in common; the same sheet turned is the same."""
    sheets = [np.random.default_rng(seed).normal(200, 2, (90, 120, 3)).clip(0, 255).astype(np.uint8) for seed in (1, 2)]
    one, other = (saved(Image.fromarray(sheet), tmp_path / f"{n}.png") for n, sheet in enumerate(sheets))
    turned = saved(Image.fromarray(np.rot90(sheets[0]).copy()), tmp_path / "turned.bmp")
    assert prints(one, other, turned).faint.all()
    assert prints(one, other, turned).lost.all(), "a JPEG wipes such a grain out"
    assert found(one, other) == []
    assert found(one, turned) == ["the same pixels"]


def test_blank_images_are_no_candidates(tmp_path: Path) -> None:
    """A thousand black frames on either side are not a million pairs to verify."""
    black = prints(saved(Image.new("L", (40, 30)), tmp_path / "black.png")).take(np.zeros(1000, dtype=int))
    matches, candidates = near_duplicates(black, black)
    assert (len(matches), candidates) == (1000, 0)
    assert matches[7] == Match(0, 7, "the same pixels")


def test_progress_reaches_the_end(tmp_path: Path) -> None:
    blank = saved(Image.new("L", (40, 30)), tmp_path / "blank.png")
    part_file = saved(coloured(part(1, (80, 80))), tmp_path / "part.png")
    some = prints(blank, part_file).take(np.array([0, 1] * 100))
    seen: list[tuple[int, int]] = []
    near_duplicates(some, some, 2, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (200, 200)
    assert len(seen) == 2


def sheet(seed: int) -> np.ndarray:
    """Fine noise: next to nothing of it is left on the small picture."""
    return np.random.default_rng(seed).normal(128, 10, (512, 512))


def weave(seed: int) -> np.ndarray:
    """The same threads every time, under other noise."""
    threads = np.sin(np.arange(512) * 2 * np.pi / 8)
    return 128 + 40 * np.outer(threads, threads) + np.random.default_rng(seed).normal(0, 8, (512, 512))


def shaded(seed: int) -> np.ndarray:
    """The same shading every time, under other noise."""
    place = (np.arange(512) / 256 - 1) ** 2
    return 128 - 1.5 * np.add.outer(place, place) + np.random.default_rng(seed).normal(0, 8, (512, 512))


def spot(seed: int) -> np.ndarray:
    """A dark field with a small spot."""
    field = np.full((600, 600), 20.0)
    row, column = np.random.default_rng(seed).integers(50, 540, 2)
    field[row : row + 6, column : column + 9] = 90
    return field


FAINT_KINDS = {"sheet": sheet, "weave": weave, "shaded": shaded, "spot": spot}
FAINT_COPIES = {
    "jpeg 75": (lambda i: i, "copy.jpg", {"quality": 75}, VIEWS[0]),
    "half": (lambda i: i.resize((i.width // 2, i.height // 2)), "copy.png", {}, VIEWS[0]),
    "darker": (lambda i: i.point(lambda v: v * 0.9), "copy.png", {}, VIEWS[0]),
    "mirrored, jpeg": (lambda i: i.transpose(Turn.FLIP_LEFT_RIGHT), "copy.jpg", {"quality": 80}, VIEWS[1]),
    "mirrored": (lambda i: i.transpose(Turn.FLIP_LEFT_RIGHT), "copy.png", {}, "the same pixels"),
}


@pytest.mark.parametrize("copy", FAINT_COPIES)
@pytest.mark.parametrize("kind", FAINT_KINDS)
def test_copies_of_faint_images_are_found(tmp_path: Path, kind: str, copy: str) -> None:
    change, name, options, relation = FAINT_COPIES[copy]
    image = Image.fromarray(FAINT_KINDS[kind](3).clip(0, 255).astype(np.uint8))
    original, other = saved(image, tmp_path / "original.png"), saved(change(image), tmp_path / name, **options)
    assert prints(original).faint.all() and not prints(original).lost.any()
    assert found(original, other) == [relation]
    assert len(found(other, original)) == 1


def test_different_faint_images_are_not_reported(tmp_path: Path) -> None:
    """Whatever shading or weave they share."""
    paths = [
        saved(Image.fromarray(draw(100 * place + seed).clip(0, 255).astype(np.uint8)), tmp_path / f"{name}{seed}.png")
        for place, (name, draw) in enumerate(FAINT_KINDS.items())
        for seed in range(6)
    ]
    images = prints(*paths)
    for row in range(len(images)):
        others = np.delete(np.arange(len(images)), row)
        assert near_duplicates(images.take(others), images.take(np.array([row])))[0] == []


def test_fields_with_a_spot_in_nearly_one_place_are_different(tmp_path: Path) -> None:
    """On the small pictures they are not: only the finer scale tells."""
    paths = []
    for number, column in enumerate((100, 106)):
        field = np.full((512, 512), 20, np.uint8)
        field[203:209, column : column + 9] = 90
        paths.append(saved(Image.fromarray(field), tmp_path / f"{number}.png"))
    assert len(near_duplicates(prints(paths[0]), prints(paths[1]))[0]) == 1
    assert found(*paths) == []


@pytest.mark.parametrize("kind", KINDS)
def test_small_copies_are_found(tmp_path: Path, kind: str) -> None:
    """What JPEG changes of 64 pixels is much more than what it changes of 128."""
    image = coloured(KINDS[kind](5, (256, 256)))
    original = saved(image, tmp_path / "original.png")
    small = image.transpose(Turn.FLIP_LEFT_RIGHT).resize((64, 64))
    assert found(original, saved(small, tmp_path / "copy.jpg", quality=60)) == [VIEWS[1]]


@pytest.mark.parametrize("side", [1, 2, 9, 24])
def test_tiny_images(tmp_path: Path, side: int) -> None:
    """The same pixels are found; other pixels are not, where there is enough to see."""
    values = np.random.default_rng(side).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    one, other = (saved(Image.fromarray(value), tmp_path / f"{n}.png") for n, value in enumerate(values))
    copy = saved(Image.fromarray(values[0][:, ::-1].copy()), tmp_path / "copy.bmp")
    assert len(found(one, copy)) == 1
    if side > 2:
        assert found(one, other) == []


def test_a_faint_image_longer_than_any_jpeg_is_lost(tmp_path: Path) -> None:
    path = saved(Image.new("L", (66_000, 2)), tmp_path / "long.png")
    assert prints(path).lost.all()
    assert found(path, saved(Image.new("L", (2, 66_000)), tmp_path / "turned.bmp")) == ["the same pixels"]


def test_twelve_of_sixteen_bits(tmp_path: Path) -> None:
    """A camera that fills 4096 of 65536 levels: not flat, and the same picture as its 8-bit copy."""
    values = part(5, (200, 160)).clip(0, 255)
    deep = saved(Image.fromarray((values * 8).astype(np.uint16)), tmp_path / "deep.png")
    plain = saved(Image.fromarray(values.astype(np.uint8)), tmp_path / "plain.png")
    tiff = saved(Image.fromarray((values * 8).astype(np.uint16)), tmp_path / "deep.tiff")
    assert not prints(deep).faint.any()
    assert found(deep, plain) == found(plain, tiff) == [VIEWS[0]]


def test_exif_rotation_is_what_a_viewer_shows(tmp_path: Path) -> None:
    image = coloured(part(2, (160, 200)))
    exif = Image.Exif()
    exif[0x0112] = 6
    tagged = saved(image, tmp_path / "tagged.jpg", exif=exif, quality=95)
    upright = saved(image.transpose(Turn.ROTATE_270), tmp_path / "upright.png")
    assert found(upright, tagged) == [VIEWS[0]]


def test_a_symmetric_picture_is_still_found_mirrored(tmp_path: Path) -> None:
    """Half of its coefficients are zero: rounding must not give them signs."""
    half = part(4, (120, 60)).clip(0, 255).astype(np.uint8)
    whole = np.hstack([half, half[:, ::-1]])
    one = saved(Image.fromarray(whole), tmp_path / "one.png")
    other = saved(Image.fromarray(whole[::-1, ::-1].copy()), tmp_path / "other.png")
    assert found(one, other)


@pytest.mark.parametrize("side", [1025, 1033])
def test_a_jpeg_decoded_at_an_eighth_is_not_shifted(tmp_path: Path, side: int) -> None:
    """The decoder rounds the size up: stretched over all of it, the far edge would lie elsewhere."""
    image = Image.fromarray(texture(3, (side, side)).clip(0, 255).astype(np.uint8))
    exact, reduced = (
        fingerprint(saved(image, tmp_path / name, **options))[0].astype(float) / LEVELS
        for name, options in (("a.png", {}), ("a.jpg", {"quality": 95}))
    )
    assert np.abs(exact - reduced).max() < 4


def test_near_hashes_alone_are_no_copy() -> None:
    """The same signs with other heights, where re-encoding would change much: only the correlation tells."""
    generator = np.random.default_rng(4)
    signs = generator.choice([-1, 1], (1, 16, 16))
    small = []
    for _ in range(2):
        heights = np.zeros((1, SIDE, SIDE))
        heights[:, :16, :16] = signs * generator.exponential(60, signs.shape) ** 1.5 / 10
        heights[:, 0, 0] = 0
        pixels = idctn(heights, axes=(1, 2), norm="ortho")
        small.append(((pixels * 20 / pixels.std() + 128).clip(0, 255) * LEVELS).astype(np.uint16))
    one, other = (stacked([(s[0], np.full(2, 40.0), False, np.zeros(32, np.uint8), False)]) for s in small)
    correlation, residual = agreement(*small, np.array([40.0]))
    assert residual[0] < LARGEST_RESIDUAL and 0.2 < correlation[0] < LEAST_CORRELATION
    matches, candidates = near_duplicates(one, other)
    assert matches == [] and candidates == 1
    assert len(near_duplicates(one, one)[0]) == 1


def test_damaged_file_is_named(tmp_path: Path) -> None:
    path = saved(coloured(part(1, (200, 200))), tmp_path / "cut.jpg")
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(InputError, match=r"cut\.jpg"):
        fingerprint(path)


# The parts ------------------------------------------------------------------------------------------------------------


def test_hashes_of_views_are_the_hashes_of_turned_pictures() -> None:
    small = np.random.default_rng(0).integers(0, 65536, (5, SIDE, SIDE), dtype=np.uint16)
    codes = hashes(small)
    for number in range(len(VIEWS)):
        turned = hashes(np.ascontiguousarray(view(small, number)), [0])[:, 0]
        # Rounding may turn the sign of a coefficient near zero.
        assert np.bitwise_count(codes[:, number] ^ turned).sum(axis=0).max() <= 1
    assert len({code.tobytes() for code in codes.reshape(4, -1).T}) == 40


def test_hashes_do_not_depend_on_the_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    small = np.random.default_rng(1).integers(0, 65536, (11, SIDE, SIDE), dtype=np.uint16)
    whole = hashes(small)
    monkeypatch.setattr(perceptual, "_CHUNK", 4)
    assert np.array_equal(hashes(small), whole)


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 30), st.integers(0, 160))
def test_near_is_every_pair_within_the_radius(seed: int, rows: int, columns: int, radius: int) -> None:
    generator = np.random.default_rng(seed)
    codes = generator.integers(0, 2**64, (4, rows), dtype=np.uint64)
    wanted = generator.integers(0, 2**64, (4, columns), dtype=np.uint64)
    wanted[:, 0] = codes[:, -1]
    table = np.bitwise_count(codes[:, None] ^ wanted[:, :, None]).astype(int).sum(axis=0)
    found_rows, found_columns, distances = near(codes, wanted, radius)
    expected = {(int(r), int(c), int(table[c, r])) for c, r in zip(*np.nonzero(table <= radius), strict=True)}
    assert set(zip(found_rows.tolist(), found_columns.tolist(), distances.tolist(), strict=True)) == expected
    assert len(found_rows) == len(expected) > 0


def test_unrelated_hashes_are_half_of_the_bits_apart() -> None:
    small = np.random.default_rng(2).integers(0, 65536, (60, SIDE, SIDE), dtype=np.uint16)
    codes = hashes(small, [0])[:, 0]
    distances = np.bitwise_count(codes[:, 0, None] ^ codes[:, 1:]).astype(int).sum(axis=0)
    assert abs(distances.mean() - BITS / 2) < 5


def test_agreement_undoes_a_brightness_curve_and_nothing_else() -> None:
    generator = np.random.default_rng(3)
    small = generator.integers(0, 255 * LEVELS, (1, SIDE, SIDE)).astype(np.uint16)
    level = small / (255 * LEVELS)
    curved = ((0.2 + 0.5 * level + 0.2 * level**2) * 255 * LEVELS).astype(np.uint16)
    other = generator.integers(0, 255 * LEVELS, small.shape).astype(np.uint16)
    change = np.array([1.0])
    same, curve, random = (agreement(one, small, change) for one in (small, curved, other))
    assert same[0] == pytest.approx(1) and same[1] < 0.01
    assert curve[0] == pytest.approx(1, abs=1e-4) and curve[1] < 0.1
    assert random[0] < 0.3 and random[1] > 10 * LARGEST_RESIDUAL


def test_agreement_is_least_squares() -> None:
    generator = np.random.default_rng(5)
    one, other = ((generator.normal(0, 30, (9, SIDE, SIDE)).cumsum(1) / 4 + 128).clip(0, 255) for _ in range(2))
    other = 0.4 * other + 0.6 * one
    steps = [(picture * LEVELS).astype(np.uint16) for picture in (one, other)]
    correlation, residual = agreement(*steps, np.full(9, 2.0))
    for row, (first, second) in enumerate(zip(*steps, strict=True)):
        y, x = first.ravel() / LEVELS, second.ravel() / LEVELS
        left = (y - np.polyval(np.polyfit(x, y, 2), x)).std()
        assert residual[row] == pytest.approx(left / 2)
        assert correlation[row] == pytest.approx(np.sqrt(1 - (left / y.std()) ** 2))


def test_agreement_of_two_levels_and_of_nothing() -> None:
    """Neither has a curve to fit: no division by zero."""
    two = np.zeros((1, SIDE, SIDE), dtype=np.uint16)
    two[:, :, :9] = 100 * LEVELS
    correlation, residual = agreement(two, two, np.array([0.3]))
    assert correlation[0] == pytest.approx(1) and residual[0] < 1e-6
    correlation, _ = agreement(two, np.zeros_like(two), np.array([0.3]))
    assert correlation[0] == 0


def test_fingerprint_is_what_it_says(tmp_path: Path) -> None:
    """Constant halves: known levels, next to nothing that JPEG changes, and not flat."""
    values = np.repeat([[50, 150]], 64, axis=1).repeat(128, axis=0).astype(np.uint8)
    values[:, :64], values[:, 64:] = 50, 150
    small, change, tiny, pixels, lost = fingerprint(saved(Image.fromarray(values), tmp_path / "halves.png"))
    assert small.shape == (SIDE, SIDE) and small.dtype == np.uint16
    assert np.abs(small[:, :12] / LEVELS - 50).max() < 0.1 and np.abs(small[:, 20:] / LEVELS - 150).max() < 0.1
    assert change.shape == (2,) and change.max() < FAINT
    assert not pixels.any() and not tiny and not lost
