"""Drift: a device is compared with the host on its own images, and a silent fallback is caught."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from edgezsad.devices.drift import drift, drift_table, mean_auroc, not_run, resolution
from edgezsad.errors import CheckError, InputError
from edgezsad.scoring.score_file import ScoreFile

HOST = [0.0, 1, 2, 3, 4, 5, 6, 7]
LABEL = [0, 0, 0, 1, 0, 1, 1, 1]
FP16 = {"runtime": "onnx-fp16", "precision": "fp16"}
Make = Callable[..., ScoreFile]


def test_small_noise_gives_the_expected_points(make_scores: Make) -> None:
    # Fifteen of sixteen pairs on the host; the device swaps 3 and 4, so that all are right.
    device = [0.01, 1, 2, 4.1, 3.9, 5, 6, 7]
    host = make_scores(HOST, LABEL)
    result = drift(host, make_scores(device, LABEL, map=host.map * 2 + 1, **FP16))
    assert result.host_auroc == pytest.approx(100 * 15 / 16)
    assert result.device_auroc == pytest.approx(100)
    # Device minus host: the sign says who is better.
    assert result.points == pytest.approx(100 / 16)
    assert result.step == pytest.approx(100 / 16)
    assert result.largest == pytest.approx(1.1, abs=1e-6)
    # Two neighbours of eight swapped: 1 - 6 * 2 / (8 * 63).
    assert result.spearman == pytest.approx(1 - 12 / 504)
    assert result.largest_spreads == pytest.approx(1.1 / np.std(HOST))
    # One of 28 pairs in the other order.
    assert result.kendall == pytest.approx((27 - 1) / 28)
    assert result.map_correlation == pytest.approx(1)
    assert (result.target, result.seed, result.images, result.suspicious) == ("bolts", 0, 8, False)
    # No threshold, no decisions.
    assert (result.newly_defective, result.newly_normal) == (None, None)


def test_decisions_at_the_hosts_threshold(make_scores: Make) -> None:
    # At 3 or above: 2 comes up to it, 4 and 5 fall below, 3 stays on it.
    device = [0, 1, 3.0, 3.0, 2.9, 2.99, 6, 7]
    result = drift(make_scores(HOST, LABEL), make_scores(device, LABEL, **FP16), threshold=3.0)
    assert (result.newly_defective, result.newly_normal, result.threshold) == (1, 2, 3.0)
    table = drift_table([(make_scores(HOST, LABEL), make_scores(device, LABEL, **FP16))], {0: 3.0, 1: 99.0})
    assert table[["newly_defective", "newly_normal"]].to_numpy().tolist() == [[1, 2]]


def test_a_subset_is_compared_with_itself(make_scores: Make) -> None:
    host = make_scores(HOST, LABEL)
    part = host.take(np.array(["006.png", "000.png", "004.png", "003.png"]))
    noisy = replace(part, score=part.score + np.float32(0.01), record=host.record.model_copy(update=FP16))
    result = drift(host, noisy)
    assert result.images == 4
    # On these four images the host has three of four pairs; on all of its own, fifteen of sixteen.
    assert result.host_auroc == result.device_auroc == pytest.approx(75)
    assert result.points == 0
    assert result.largest == pytest.approx(0.01, abs=1e-6)
    assert result.spearman == pytest.approx(1)
    assert result.map_correlation == pytest.approx(1)


def test_identical_scores_at_another_precision_are_a_fallback(make_scores: Make) -> None:
    host = make_scores(HOST, LABEL)
    fallen = make_scores(HOST, LABEL, **FP16)
    assert drift(host, fallen).suspicious
    with pytest.raises(CheckError, match="bolts seed 0: drift of exactly zero; the runtime fell back") as caught:
        drift_table([(host, fallen)])
    assert caught.value.exit_code == 1
    # A board's page says so instead, and goes on.
    assert drift_table([(host, fallen)], strict=False)["suspicious"].tolist() == [True]
    # At the same precision the same scores are what one hopes for.
    assert not drift(host, make_scores(HOST, LABEL, runtime="onnx-fp32")).suspicious
    # One score that differs in the last bit is enough.
    other = np.array(HOST, dtype=np.float32)
    other[3] = np.nextafter(other[3], np.float32(9))
    assert not drift(host, make_scores(other, LABEL, **FP16)).suspicious


def test_what_cannot_be_compared(make_scores: Make) -> None:
    host = make_scores(HOST, LABEL)
    other_label = [1, *LABEL[1:]]
    with pytest.raises(InputError, match="bolts: labels differ between host and device") as caught:
        drift(host, make_scores(HOST, other_label, **FP16))
    assert caught.value.exit_code == 2
    strange = make_scores([1, 2], [0, 1], image_id=["000.png", "strange.png"], **FP16)
    with pytest.raises(InputError, match=r"no image strange\.png"):
        drift(host, strange)
    absent = make_scores([], [], status="not run", reason="no board", **FP16)
    for pair in ((host, absent), (absent, host)):
        with pytest.raises(InputError, match=r"onnx-fp16: not run \(no board\); there is nothing to compare"):
            drift(*pair)


@pytest.mark.parametrize("change", [{"seed": 1}, {"target": "nuts"}], ids=["seed", "target"])
def test_another_seed_or_target_is_refused(make_scores: Make, change: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"host .*bolts seed 0.*device .*seed"):
        drift(make_scores(HOST, LABEL), make_scores(HOST, LABEL, **FP16, **change))


def test_maps_of_another_size_are_refused(make_scores: Make) -> None:
    with pytest.raises(InputError, match="maps differ in size"):
        drift(make_scores(HOST, LABEL), make_scores(HOST, LABEL, map=np.zeros((8, 2, 2)), **FP16))


def test_mean_over_categories_and_its_resolution(make_scores: Make) -> None:
    score = [0.0, 1, 2, 3, 3, 2, 1, 5]
    label = [0, 1, 0, 1, 0, 1, 1, 0]
    scores = make_scores(score, label, category=["a"] * 4 + ["b"] * 3 + ["c"])
    # a: three of four pairs; b: none of two; c has one label and no AUROC.
    assert mean_auroc(scores) == pytest.approx(100 * (0.75 + 0) / 2)
    assert resolution(scores) == pytest.approx(50 / 2)
    # The step is what swapping one pair does.
    swapped = make_scores([0.0, 1, 2, 3, 1.5, 2, 1, 5], label, category=["a"] * 4 + ["b"] * 3 + ["c"])
    assert mean_auroc(swapped) - mean_auroc(scores) == pytest.approx(resolution(scores))


def test_table_and_reasons(make_scores: Make) -> None:
    host = make_scores(HOST, LABEL)
    noisy = make_scores(np.array(HOST) + 0.1, LABEL, **FP16)
    table = drift_table([(host, noisy), (host, noisy)])
    assert table["points"].tolist() == [0, 0]
    assert {"target", "seed", "images", "host_auroc", "device_auroc", "spearman", "largest"} <= set(table)
    absent = make_scores([], [], status="not run", reason="no board", **FP16).record
    assert not_run([host.record, noisy.record]) == ""
    assert not_run([absent, host.record, absent]) == "no board"
