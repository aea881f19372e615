"""How far a stream's numbers may lie from exact ones beyond the buffer: 1e-5 for AUROC, 1e-4 for the others.

The streams are what maps look like, what breaks histograms (crowded, spread, tied, denormal), and orders in which
scores arrive sorted or drift, since places are split by what has come before.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from edgezsad.metrics import ranks
from edgezsad.metrics.pixel_metrics import LANES, PixelMetrics, exact_pixel_metrics, pixel_metrics
from edgezsad.metrics.rank_tree import SHARE

Random = np.random.Generator
Stream = tuple[np.ndarray, np.ndarray]
SHAPE = (10, 256, 256)

STREAMS: dict[str, Callable[[Random], Stream]] = {}


def stream(make: Callable[[Random], Stream]) -> Callable[[Random], Stream]:
    STREAMS[make.__name__] = make
    return make


def defects(random: Random, shape: tuple[int, int, int] = SHAPE, share: float = 0.02) -> np.ndarray:
    """Rectangles of up to 12 x 12 in two of three images; about this share of all pixels."""
    masks = np.zeros(shape, dtype=bool)
    for mask in (each for index, each in enumerate(masks) if index % 3 < 2):
        for _ in range(int(share * mask.size * 1.5 / 36)):
            (y, x), (height, width) = random.integers(0, shape[1] - 12, 2), random.integers(1, 12, 2)
            mask[y : y + height, x : x + width] = True
    return masks


def logits(random: Random, gap: float = 2) -> Stream:
    masks = defects(random)
    return random.normal(size=SHAPE) + gap * masks, masks


@stream
def float32(random: Random) -> Stream:
    maps, masks = logits(random)
    return maps.astype(np.float32), masks


@stream
def float64(random: Random) -> Stream:
    return logits(random)


@stream
def float16(random: Random) -> Stream:
    maps, masks = logits(random)
    return maps.astype(np.float16), masks


@stream
def sigmoid_near_one(random: Random) -> Stream:
    # Float32 has few numbers there, so that most scores tie.
    maps, masks = logits(random)
    return (1 / (1 + np.exp(-3 * maps - 12))).astype(np.float32), masks


@stream
def sigmoid_near_one_float64(random: Random) -> Stream:
    maps, masks = logits(random)
    return 1 / (1 + np.exp(-3 * maps - 30)), masks


@stream
def heavy_tail(random: Random) -> Stream:
    maps, masks = logits(random)
    return np.exp(8 * maps).astype(np.float32), masks


@stream
def heaviest_tail(random: Random) -> Stream:
    maps, masks = logits(random)
    return np.exp(60 * maps), masks


@stream
def cauchy(random: Random) -> Stream:
    masks = defects(random)
    return (random.standard_cauchy(SHAPE) + 5 * masks).astype(np.float32), masks


@stream
def all_magnitudes_of_both_signs(random: Random) -> Stream:
    masks = defects(random)
    sign = np.where(random.random(SHAPE) < 0.5 - 0.3 * masks, -1, 1)
    return sign * 10.0 ** random.uniform(-300, 300, SHAPE), masks


@stream
def constant(random: Random) -> Stream:
    return np.full(SHAPE, 0.7, dtype=np.float32), defects(random)


@stream
def two_values(random: Random) -> Stream:
    maps, masks = logits(random)
    return maps > 1.5, masks


@stream
def levels_of_8_bits(random: Random) -> Stream:
    maps, masks = logits(random)
    return np.clip(30 * maps + 100, 0, 255).astype(np.uint8), masks


@stream
def levels_of_16_bits(random: Random) -> Stream:
    maps, masks = logits(random)
    return np.clip(5000 * maps + 30000, 0, 65535).astype(np.uint16), masks


@stream
def every_level_of_16_bits(random: Random) -> Stream:
    masks = defects(random)
    return (random.integers(-30000, 28000, SHAPE) + 4000 * masks).astype(np.int16), masks


@stream
def denormal(random: Random) -> Stream:
    maps, masks = logits(random)
    return (1e6 * np.clip(maps + 4, 0, None)).astype(np.uint32).view(np.float32), masks


@stream
def denormal_float64(random: Random) -> Stream:
    maps, masks = logits(random)
    return (1e12 * np.clip(maps + 4, 0, None)).astype(np.uint64).view(np.float64), masks


@stream
def crowded(random: Random) -> Stream:
    # The 840 float32 numbers from 1 to 1.0001.
    maps, masks = logits(random)
    return (1 + 1e-4 * np.clip((maps + 5) / 12, 0, 1)).astype(np.float32), masks


@stream
def crowded_float64(random: Random) -> Stream:
    masks = defects(random)
    return 1 + random.uniform(0, 1e-12, SHAPE) + 1e-13 * masks, masks


@stream
def background_of_exact_zeros(random: Random) -> Stream:
    maps, masks = logits(random)
    return np.maximum(maps - 1, 0).astype(np.float32), masks


@stream
def one_step_above_the_normal(random: Random) -> Stream:
    masks = defects(random)
    return np.where(masks, np.nextafter(np.float32(0.3), np.float32(1)), np.float32(0.3)), masks


@stream
def one_step_below_many_normal(random: Random) -> Stream:
    maps, masks = logits(random, gap=0)
    maps[np.abs(maps) < 0.5] = 1.5
    return np.where(masks, np.nextafter(1.5, 0), maps), masks


@stream
def one_step_above_many_normal(random: Random) -> Stream:
    maps, masks = logits(random, gap=0)
    maps[np.abs(maps) < 0.5] = 1.5
    return np.where(masks, np.nextafter(1.5, 2), maps), masks


@stream
def half_defective(random: Random) -> Stream:
    masks = np.zeros(SHAPE, dtype=bool)
    masks[::3, :192] = masks[1::3, 64:] = True
    return (random.normal(size=SHAPE) + masks).astype(np.float32), masks


@stream
def mostly_defective(random: Random) -> Stream:
    # Precision is about the defective pixels then: a place of a few normal ones may stay whole wherever it ranks.
    masks = np.ones(SHAPE, dtype=bool)
    masks[:, :110] = False
    return (random.normal(size=SHAPE) + masks).astype(np.float32), masks


@stream
def defects_of_one_pixel(random: Random) -> Stream:
    masks = random.random(SHAPE) < 0.05
    return (random.normal(size=SHAPE) + 2 * masks).astype(np.float32), masks


@stream
def huge_and_tiny_defects(random: Random) -> Stream:
    masks = np.zeros(SHAPE, dtype=bool)
    masks[1:4] = True
    masks[5:, ::32, ::32] = True
    return (random.normal(size=SHAPE) + masks).astype(np.float32), masks


def few_defective(random: Random, pixels: int, gap: float, dtype: type) -> Stream:
    masks = np.zeros(SHAPE, dtype=bool)
    masks.flat[random.choice(masks.size, pixels, replace=False)] = True
    maps = random.normal(size=SHAPE) + gap * masks
    return (np.clip(25 * maps + 100, 0, 255) if dtype == np.uint8 else maps).astype(dtype), masks


@stream
def one_defective_pixel(random: Random) -> Stream:
    return few_defective(random, 1, 4, np.float32)


@stream
def sixteen_defective_pixels(random: Random) -> Stream:
    return few_defective(random, 16, 4, np.float32)


@stream
def a_hundred_defective_pixels_of_8_bits(random: Random) -> Stream:
    return few_defective(random, 100, 4, np.uint8)


@stream
def a_thousand_defective_pixels(random: Random) -> Stream:
    return few_defective(random, 1000, 3, np.float32)


@stream
def a_thousand_defective_pixels_float64(random: Random) -> Stream:
    return few_defective(random, 1000, 3, np.float64)


def in_order(random: Random, order: int, dtype: type = np.float32) -> Stream:
    """All scores sorted through the whole stream; the higher, the more likely defective."""
    maps = np.sort(random.normal(size=np.prod(SHAPE)))[::order].reshape(SHAPE)
    return maps.astype(dtype), random.random(SHAPE) < 0.1 / (1 + np.exp(4 - 2 * maps))


@stream
def ascending(random: Random) -> Stream:
    return in_order(random, 1)


@stream
def descending(random: Random) -> Stream:
    return in_order(random, -1)


@stream
def descending_float64(random: Random) -> Stream:
    return in_order(random, -1, np.float64)


@stream
def ascending_with_all_defects_one_score(random: Random) -> Stream:
    maps, _ = in_order(random, 1, np.float64)
    masks = defects(random)
    return np.where(masks, 0.7, maps), masks


@stream
def each_image_sorted_and_all_defects_one_score(random: Random) -> Stream:
    masks = defects(random)
    maps = np.sort(random.normal(size=SHAPE).reshape(len(masks), -1)).reshape(SHAPE)
    return np.where(masks, 1.1, maps).astype(np.float32), masks


@stream
def normal_pixels_descending_then_all_defects(random: Random) -> Stream:
    maps, _ = in_order(random, -1)
    masks = np.zeros(SHAPE, dtype=bool)
    masks[-3:, :50, :50] = True
    maps[masks] = random.normal(1, 1, masks.sum())
    return maps, masks


@stream
def all_defects_first(random: Random) -> Stream:
    masks = np.zeros(SHAPE, dtype=bool)
    masks[:3, :50, :50] = True
    return (random.normal(size=SHAPE) + masks).astype(np.float32), masks


@stream
def drifting_up(random: Random) -> Stream:
    maps, masks = logits(random)
    return (0.1 * maps + np.linspace(0, 20, len(maps))[:, None, None]).astype(np.float32), masks


@stream
def drifting_down(random: Random) -> Stream:
    maps, masks = logits(random)
    return 0.1 * maps - np.linspace(0, 20, len(maps))[:, None, None], masks


@stream
def another_scale_halfway(random: Random) -> Stream:
    # Everything after the buffer lies within 1e-5 of where nothing was before.
    maps, masks = logits(random)
    maps[5:] = 1e10 + 1e4 * maps[5:]
    return maps, masks


def distances(maps: np.ndarray, masks: np.ndarray, limit: float = 0.3) -> tuple[PixelMetrics, dict[str, float]]:
    """Exact numbers and how far the stream's are from them."""
    streamed, exact = pixel_metrics(maps, masks, fpr_limit=limit), exact_pixel_metrics(maps, masks, fpr_limit=limit)
    assert (streamed.images, streamed.regions) == (exact.images, exact.regions)
    # The threshold is another number where F1 hardly differs, so it is judged by the F1 that it reaches.
    called = maps >= maps.dtype.type(streamed.threshold) if maps.dtype.kind == "f" else maps >= streamed.threshold
    reached = 2 * (called & masks).sum() / (called.sum() + masks.sum())
    names = ("auroc", "average_precision", "f1_max", "aupro")
    found = {name: abs(getattr(streamed, name) - getattr(exact, name)) for name in names}
    return exact, found | {"threshold": abs(reached - exact.f1_max)}


def within(found: dict[str, float], auroc: float = 1e-5, others: float = 1e-4) -> None:
    assert found["auroc"] <= auroc, found
    # Written so that NaN fails too.
    assert all(value <= others for value in found.values()), found


@pytest.mark.parametrize("name", STREAMS)
def test_error_beyond_a_small_buffer(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # A small buffer leaves more to the tree: it is planted at 65,536 scores, anew at twice as many, and so on.
    monkeypatch.setattr(ranks, "BUFFERED", 1 << 16)
    maps, masks = STREAMS[name](np.random.default_rng(0))
    assert all((~masks[lane::LANES]).sum() > ranks.BUFFERED for lane in range(LANES))
    _, found = distances(maps, masks)
    within(found)


@pytest.mark.parametrize("gap", [1.0, 4.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_error_beyond_the_real_buffer(gap: float, dtype: type) -> None:
    random = np.random.default_rng(1)
    shape = (12, 256, 256)
    masks = defects(random, shape, share=0.003)
    maps = (random.normal(size=shape) + gap * masks).astype(dtype)
    assert all((~masks[lane::LANES]).sum() > ranks.BUFFERED for lane in range(LANES))
    exact, found = distances(maps, masks)
    assert 0.01 < exact.average_precision < 0.99
    within(found)


@pytest.mark.parametrize("limit", [1.0, 0.05, 0.01, 0.001])
def test_other_limits_of_the_false_positive_rate(limit: float, monkeypatch: pytest.MonkeyPatch) -> None:
    # The area is divided by the limit, and so is its error.
    monkeypatch.setattr(ranks, "BUFFERED", 1 << 16)
    maps, masks = logits(np.random.default_rng(2))
    _, found = distances(maps.astype(np.float32), masks, limit)
    within(found)


# Counts stay at a place until it is heavy enough to be split, and are in the end shared out among its parts as if they
# had come mixed. 18 places lie on the way to one score of 64 bits, and each keeps up to `SHARE` of everything. An order
# can fill them from one side, and it shows where all defects tie at that score.
MISLED = 18 * SHARE


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_error_of_scores_sorted_downwards_where_all_defects_tie(dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "BUFFERED", 1 << 16)
    maps, _ = in_order(np.random.default_rng(0), -1, dtype)
    masks = np.zeros(SHAPE, dtype=bool)
    masks[:, :8, ::8] = True
    maps[masks] = -1.3
    _, found = distances(maps, masks)
    within(found, auroc=MISLED, others=MISLED)


def misleading(dtype: type, below: bool) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """At every place on the way to the defects' score the first normal scores lie on one side of it, all others on the
    other.
    """
    random = np.random.default_rng(3)
    score = dtype(1.37)
    sides = np.nextafter(score, dtype(-9)), np.nextafter(score, dtype(9))
    first, then = sides if below else sides[::-1]
    parts = random.uniform(2, 8, 1 << 17), np.full(1 << 9, first), np.full(1 << 16, then)
    for part in (np.full((8, 64), score), *(each.reshape(-1, 64) for each in parts)):
        # Once for each lane.
        for _ in range(LANES):
            yield part.astype(dtype), np.ones(part.shape, dtype=bool) if part[0, 0] == score else None


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("below", [True, False])
def test_error_in_an_order_made_to_mislead(dtype: type, below: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "BUFFERED", 1 << 16)
    maps, masks = zip(*misleading(dtype, below), strict=True)
    streamed, exact = pixel_metrics(maps, masks), exact_pixel_metrics(maps, masks)
    assert streamed.auroc == pytest.approx(exact.auroc, abs=MISLED)
    assert streamed.average_precision == pytest.approx(exact.average_precision, abs=1e-4)
