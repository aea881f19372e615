"""Progress in a log: whole lines, the last of which says that the work is done."""

import time

import pytest

from edgezsad import progress as module
from edgezsad.progress import meter, progress, ticker


def test_the_last_line_of_a_log_is_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    assert sum(progress(range(5), "count", 5)) == 10
    with ticker("work") as tick:
        for done in range(1, 5):
            tick(done, 4)
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith("count: 5/5") for line in lines)
    assert lines[-1].startswith("work: 4/4")


def test_a_training_reports_loss_rate_and_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", 0)
    with meter("seed 0", 640, start=64) as advance:
        for number in range(9):
            time.sleep(0.01)
            advance(64, f"loss {number / 10:.3f}")
    with meter("seed 1", 10, shown=False) as advance:
        advance(10, "loss 1")
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("seed 0: 640/640")
    assert all(word in lines[4] for word in ("seed 0: ", "/640", " image/s", " left", "loss 0."))
