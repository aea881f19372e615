"""The bound on false alarms holds, is the published one, and is not needlessly loose."""

import numpy as np
import pytest
from scipy import stats

from edgezsad.metrics.calibration import calibrate, estimate, estimate_text, images_needed


@pytest.mark.parametrize(("share", "images"), [(0.1, 29), (0.05, 59), (0.02, 149), (0.01, 299)])
def test_the_number_of_images_is_wilks(share: float, images: int) -> None:
    assert images_needed(share) == images
    scores = np.random.default_rng(0).normal(size=images)
    enough, few = calibrate(scores, share), calibrate(scores[1:], share)
    assert enough.false_alarms == share and few.false_alarms > share
    assert enough.flagged == 0 and enough.threshold > np.float32(scores.max())
    assert enough.as_text().endswith(f"(from {images} good images)")
    assert few.as_text().endswith(f"{100 * share:.2g}% needs {images}")


def test_few_images_give_the_weaker_bound() -> None:
    found = calibrate(np.arange(10), 0.05)
    # P(all ten below the quantile 1 - a) = (1 - a)^10 = 5%.
    assert found.false_alarms == pytest.approx(0.2589, abs=1e-4)
    assert (found.threshold > 9) and found.as_text().startswith(
        "at most 26% of good parts flagged, with 95% confidence"
    )
    assert calibrate([3.0], 0.05).false_alarms == pytest.approx(0.95)


@pytest.mark.parametrize("count", [59, 93, 200, 500])
def test_the_rank_is_the_largest_that_keeps_the_bound(count: int) -> None:
    scores = np.random.default_rng(count).permutation(count).astype(float)
    flagged = calibrate(scores, 0.05).flagged
    # Oracle: of a sample's r-th largest score, the share above is Beta(r, m - r + 1).
    assert stats.beta.sf(0.05, flagged + 1, count - flagged) <= 0.05
    assert stats.beta.sf(0.05, flagged + 2, count - flagged - 1) > 0.05


def test_the_promise_holds_in_repeated_samples() -> None:
    random = np.random.default_rng(1)
    broken = 0
    for _ in range(2000):
        threshold = calibrate(random.exponential(size=120), 0.05).threshold
        broken += np.exp(-threshold) > 0.05
    # 5% at most, and three standard deviations of 2,000 samples.
    assert broken / 2000 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2000)


def test_equal_scores_are_not_flagged() -> None:
    assert calibrate(np.ones(80), 0.05).flagged == 0


@pytest.mark.parametrize(("scores", "share"), [([], 0.05), ([1.0], 0.0), ([1.0], 1.0)])
def test_nonsense_is_rejected(scores: list[float], share: float) -> None:
    with pytest.raises(ValueError, match="expected at least one score"):
        calibrate(scores, share)


def test_the_estimate_from_few_scores_is_between_their_level_and_the_guarantee() -> None:
    random = np.random.default_rng(2)
    flagged = []
    for _ in range(400):
        scores = np.exp(random.normal(0.0, 0.07, 210))
        threshold = estimate(scores[:10], 0.05)
        flagged.append((scores[10:] >= threshold).mean())
    # Of normal logarithms with the usual deviation: somewhat more than asked, as the text says.
    assert 0.05 < np.mean(flagged) < 0.1
    # One score is not a deviation of zero, and equal scores are not a threshold at their own level.
    assert estimate([1.0, 1.0]) > 1.05
    assert estimate([1.0, 2.0, 4.0]) > estimate([1.9, 2.0, 2.1])
    assert "59 more good images" in estimate_text(10, 0.05)
