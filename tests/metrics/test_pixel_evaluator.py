"""The evaluator as a stream: what callers may do while it counts in the background, and what it never does to them."""

import gc
import threading
import time
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError

import numpy as np
import pytest

from edgezsad.errors import InputError
from edgezsad.metrics import pixel_metrics as pixel
from edgezsad.metrics import ranks
from edgezsad.metrics.pixel_metrics import PixelEvaluator, PixelMetrics, exact_pixel_metrics, pixel_metrics

# Long enough for any machine; a test that reaches it has hung.
PATIENCE = 60


def stream(images: int = 20, size: int = 16, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    masks = generator.random((images, size, size)) > 0.9
    masks[:: max(1, images // 5)] = False
    return (generator.normal(size=masks.shape) + masks).astype(np.float32), masks


def values(result: PixelMetrics) -> list[float]:
    return [result.auroc, result.average_precision, result.f1_max, result.threshold, result.aupro, result.regions]


def soon(call: Callable[[], object]) -> BaseException | None:
    """What a call raises, if it comes back at all."""
    raised: list[BaseException | None] = []

    def run() -> None:
        try:
            call()
            raised.append(None)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert raised, "the call hangs"
    return raised[0]


def test_images_one_by_one_are_the_images_together() -> None:
    maps, masks = stream()
    with PixelEvaluator() as evaluator:
        for anomaly_map, mask in zip(maps, masks, strict=True):
            evaluator.update(anomaly_map, mask)
        result = evaluator.result()
    assert result == pixel_metrics(maps, masks)
    assert result.images == evaluator.images == 20


def test_what_fits_the_buffer_is_exact() -> None:
    maps, masks = stream()
    streamed, exact = pixel_metrics(maps, masks), exact_pixel_metrics(maps, masks)
    assert streamed.auroc == pytest.approx(exact.auroc, abs=1e-15)
    assert streamed.average_precision == pytest.approx(exact.average_precision, abs=1e-15)
    assert (streamed.f1_max, streamed.threshold) == (exact.f1_max, exact.threshold)
    # Shares of regions are whole numbers of 2**-40.
    assert streamed.aupro == pytest.approx(exact.aupro, abs=1e-10)


def test_more_images_after_a_result() -> None:
    maps, masks = stream()
    with PixelEvaluator() as evaluator:
        assert evaluator.result().images == 0
        for image, (anomaly_map, mask) in enumerate(zip(maps, masks, strict=True), start=1):
            evaluator.update(anomaly_map, mask)
            if image in (1, 2, 7, 20):
                expected = values(pixel_metrics(maps[:image], masks[:image]))
                # Asking does not change what is asked for.
                for _ in range(2):
                    assert values(evaluator.result()) == pytest.approx(expected, rel=0, abs=0, nan_ok=True)


def test_the_caller_may_fill_the_same_arrays_again() -> None:
    maps, masks = stream()
    anomaly_map, mask = np.empty_like(maps[0]), np.empty_like(masks[0])
    with PixelEvaluator() as evaluator:
        for index in range(len(maps)):
            anomaly_map[:], mask[:] = maps[index], masks[index]
            evaluator.update(anomaly_map, mask)
        anomaly_map[:], mask[:] = np.nan, True
        assert evaluator.result() == pixel_metrics(maps, masks)


def test_anything_that_yields_one_image_at_a_time() -> None:
    maps, masks = stream()
    expected = pixel_metrics(maps, masks)
    assert pixel_metrics((each for each in maps), (each for each in masks)) == expected
    assert pixel_metrics(list(maps), iter(masks), names=(str(index) for index in range(20))) == expected
    # Fewer names than images: the others go by number.
    assert pixel_metrics(maps, masks, names=["first"]) == expected


@pytest.mark.parametrize("bits", [32, 64])
def test_numbers_do_not_depend_on_which_thread_is_faster(monkeypatch: pytest.MonkeyPatch, bits: int) -> None:
    # Beyond the buffer, where the order in which scores arrive decides which places are split.
    monkeypatch.setattr(ranks, "BUFFERED", 60_000)
    maps, masks = stream(images=30, size=96)
    maps = maps.astype(f"f{bits // 8}")
    expected = pixel_metrics(maps, masks)
    assert pixel_metrics(maps, masks) == expected
    add, generator = pixel._Lane.add, np.random.default_rng(0)

    def late(self: object, *given: object) -> None:
        time.sleep(generator.choice([0, 0, 0.001, 0.01]))
        add(self, *given)

    monkeypatch.setattr(pixel._Lane, "add", late)
    assert pixel_metrics(maps, masks) == expected


def test_images_may_differ_in_size_as_long_as_each_fits_its_mask() -> None:
    generator = np.random.default_rng(1)
    shapes = [(5, 9), (40, 30), (1, 1), (7, 7), (64, 2), (3, 3)]
    maps = [generator.normal(size=shape) for shape in shapes]
    masks = [generator.random(shape) > 0.5 for shape in shapes]
    streamed, exact = pixel_metrics(maps, masks), exact_pixel_metrics(maps, masks)
    assert values(streamed) == pytest.approx(values(exact), abs=1e-9)
    larger = pixel_metrics(maps, masks, pixels=16), exact_pixel_metrics(maps, masks, pixels=16)
    assert values(larger[0]) == pytest.approx(values(larger[1]), abs=1e-9)


def test_maps_and_masks_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "BUFFERED", 1000)
    alive: list[weakref.ref] = []
    most = 0

    def made(kind: type) -> Iterator[np.ndarray]:
        nonlocal most
        for index in range(60):
            each = np.zeros((8, 8), dtype=kind)
            each[index % 8, 3] = 1
            alive.append(weakref.ref(each))
            most = max(most, sum(ref() is not None for ref in alive))
            yield each

    pixel_metrics(made(np.float32), made(np.bool_))
    # The two of this image, and the two before them in the loop that yields them.
    assert most <= 4
    gc.collect()
    assert not any(ref() is not None for ref in alive)


def test_memory_does_not_grow_with_the_number_of_images() -> None:
    generator = np.random.default_rng(0)
    tracemalloc.start()
    try:
        with PixelEvaluator() as evaluator:
            taken = []
            for index in range(240):
                evaluator.update(generator.normal(size=(64, 64)), generator.random((64, 64)) > 0.9)
                if index in (40, 239):
                    taken.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    # The 200 images between take 7 MB; what waits in the background is a few of them.
    assert taken[1] < taken[0] + 2e6


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("name", "said"), [("bolt/007.png", "bolt/007.png"), ("", "image 3")])
@pytest.mark.parametrize("pixels", [None, 32])
def test_a_bad_map_is_named_whenever_the_background_comes_to_it(
    bad: float, name: str, said: str, pixels: int | None
) -> None:
    maps, masks = stream(images=40)
    maps[3, 8, 8] = bad
    with pytest.raises(InputError, match=rf"metrics: {said}: a value of its map is not finite"):
        # Forty images: the error arises long before the result is asked for.
        pixel_metrics(maps, masks, pixels, names=[name if index == 3 else "" for index in range(40)])
    with PixelEvaluator(pixels) as evaluator:
        for index in range(4):
            evaluator.update(maps[index], masks[index], name if index == 3 else "")
        with pytest.raises(InputError, match=rf"metrics: {said}: a value of its map is not finite"):
            evaluator.result()


def test_nothing_hangs_after_an_error() -> None:
    maps, masks = stream()
    evaluator = PixelEvaluator()
    evaluator.update(np.full((16, 16), np.nan, dtype=np.float32))
    for anomaly_map, mask in zip(maps[:7], masks[:7], strict=True):
        evaluator.update(anomaly_map, mask)
    first = soon(evaluator.result)
    assert isinstance(first, InputError)
    for call in (evaluator.result, lambda: evaluator.update(maps[0], masks[0]), evaluator.result):
        # There is no number after an error, and no wait for one.
        assert isinstance(soon(call), (RuntimeError, CancelledError, InputError))
    for call in (evaluator.close, evaluator.close, evaluator.__del__):
        assert soon(call) is None


def test_an_error_of_the_caller_comes_through_and_ends_the_threads() -> None:
    def broken() -> Iterator[np.ndarray]:
        yield np.zeros((2, 2))
        raise OSError("the disk is gone")

    def wrong() -> Iterator[np.ndarray]:
        yield np.zeros((2, 2))
        raise InputError("mask.png: cannot be read")

    with pytest.raises(OSError, match="the disk is gone"):
        pixel_metrics(broken(), iter([None, None]))
    with pytest.raises(InputError, match=r"mask\.png: cannot be read"):
        pixel_metrics(np.zeros((2, 2, 2)), wrong())


def test_threads_end_with_the_evaluator() -> None:
    def counting() -> set[threading.Thread]:
        return {thread for thread in threading.enumerate() if thread.name.startswith("pixel-metrics")}

    maps, masks = stream(images=4)
    before = counting()
    pixel_metrics(maps, masks)
    forgotten = PixelEvaluator()
    forgotten.update(maps[0], masks[0])
    forgotten.result()
    mine = counting() - before
    assert mine
    del forgotten
    gc.collect()
    for thread in mine:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_maps_of_two_kinds_of_numbers_are_refused() -> None:
    with PixelEvaluator() as evaluator:
        evaluator.update(np.zeros((2, 2), dtype=np.float32))
        # These are float32 exactly.
        for dtype in (np.float16, np.uint8, np.int16, np.bool_):
            evaluator.update(np.zeros((2, 2), dtype=dtype))
        with pytest.raises(InputError, match=r"image 5: maps of 32-bit and of 64-bit numbers; make them the same"):
            evaluator.update(np.zeros((2, 2)))
        # A refused image is not counted.
        assert evaluator.result().images == 5
    with pytest.raises(InputError, match=r"image 1: maps of 64-bit and of 32-bit numbers"):
        pixel_metrics([np.zeros((2, 2)), np.zeros((2, 2), dtype=np.float32)], [None, None])


@pytest.mark.parametrize("count", [1, 39, 41])
def test_as_many_masks_as_maps(count: int) -> None:
    maps, masks = stream(images=40)
    with pytest.raises(InputError, match=r"not as many masks as maps; give one mask \(or None\) for each map"):
        pixel_metrics(maps, (masks[index % 40] for index in range(count)))


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("limit", [0, -0.1, 1.01, float("nan")])
def test_a_limit_outside_its_range_is_refused(limit: float) -> None:
    with pytest.raises(InputError, match=r"fpr_limit .* is not in \(0, 1\]; MVTec's is 0.3"):
        PixelEvaluator(fpr_limit=limit)
    gc.collect()


def test_the_first_image_may_have_more_defective_pixels_than_are_buffered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "BUFFERED", 1000)
    maps, masks = stream(images=2, size=64)
    masks[:, :40] = True
    streamed, exact = pixel_metrics(maps, masks), exact_pixel_metrics(maps, masks)
    assert values(streamed) == pytest.approx(values(exact), abs=1e-4)


def test_one_lane_without_defects() -> None:
    # Every second image is normal, so all of one thread's are.
    maps, masks = stream(images=12)
    masks[0] = True
    masks[1::2] = False
    assert values(pixel_metrics(maps, masks)) == pytest.approx(values(exact_pixel_metrics(maps, masks)), abs=1e-9)
    assert values(pixel_metrics(maps[::-1], masks[::-1])) == pytest.approx(
        values(exact_pixel_metrics(maps, masks)), abs=1e-9
    )
