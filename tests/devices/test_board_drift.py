"""A board's result on its page: compared like any runtime, and whatever is missing, foreign or too good is named."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from edgezsad.config import Profile
from edgezsad.data.manifest import Entry, Manifest, write_manifest
from edgezsad.devices import pages
from edgezsad.devices.boards import BOARDS
from edgezsad.devices.latency import Latency, write_latency
from edgezsad.devices.run import board_drift, runtime_drift
from edgezsad.errors import InputError
from edgezsad.run import Run
from edgezsad.scoring.score_file import ScoreFile, write_scores

JETSON = BOARDS["jetson"]
LABEL = np.repeat([0, 1], 40)
HOST = np.random.default_rng(0).normal(size=80) + 1.5 * LABEL
FACTS = {"runtime": JETSON.runtime, "precision": "fp16"}
Make = Callable[..., ScoreFile]


@pytest.fixture
def run(make_profile: Callable[..., Profile], make_scores: Make, tmp_path: Path) -> Run:
    """Two targets of 80 images and two seeds on the host, with manifests and one mask for all."""
    data = make_profile(tmp_path).data.model_copy(update={"root": tmp_path / "data"})
    run = Run(make_profile(tmp_path).model_copy(update={"data": data}))
    for item in run.profile.data.targets:
        root = run.profile.data.folder(item)
        root.mkdir(parents=True)
        mask = np.zeros((16, 16), dtype=np.uint8)
        mask[2:9, 3:8] = 255
        entries = []
        for row in range(80):
            name = f"{row:03d}.png"
            cv2.imwrite(str(root / name), np.full((16, 16, 3), row, dtype=np.uint8))
            if LABEL[row]:
                cv2.imwrite(str(root / f"{row:03d}_mask.png"), mask)
            masked = f"{row:03d}_mask.png" if LABEL[row] else ""
            entries.append(
                Entry(
                    name,
                    "bolt",
                    "test",
                    int(LABEL[row]),
                    "cut" if LABEL[row] else "good",
                    masked,
                    16,
                    16,
                    "a" * 64,
                    "b" * 64 if masked else "",
                )
            )
        write_manifest(Manifest(item.name, root, tuple(entries)), run.manifest_path(item.name))
        for seed in (0, 1):
            scores = make_scores(HOST, LABEL, target=item.name, seed=seed)
            write_scores(scores, run.scores("pytorch", seed, item.name))
    return run


@pytest.fixture
def give(make_scores: Make) -> Callable[..., None]:
    """Put a board's scores into a folder, moved by `noise`; keyword arguments as for `make_scores`."""

    def put(folder: Path, noise: float, targets: tuple[str, ...] = ("bolts", "nuts"), **facts: object) -> None:
        generator = np.random.default_rng(1)
        for target in targets:
            for seed in (0, 1):
                device = HOST + noise * generator.normal(size=80)
                scores = make_scores(device, LABEL, **(FACTS | {"target": target, "seed": seed} | facts))
                write_scores(scores, folder / f"seed{seed}" / f"{target}.npz")

    return put


def latency(**changed: object) -> Latency:
    facts = {
        "board": "jetson",
        "runtime": JETSON.runtime,
        "precision": "fp16",
        "device": "Orin Nano",
        "profile": "mini",
        "model_sha256": "a" * 64,
        "milliseconds": [10.0, 11.0, 12.0, 13.0, 50.0],
        "method": "computeMs",
        "versions": {"tensorrt": "10.3"},
        "conditions": {"power mode": "MAXN_SUPER"},
        "command": "trtexec",
    }
    return Latency(**(facts | changed))


def test_no_board(run: Run) -> None:
    result = board_drift(run, JETSON)
    assert (result.runtime, result.pairs) == (JETSON.runtime, [])
    assert result.summary().startswith("not run: no result of the board in ")
    assert result.reason.endswith(f"needs {JETSON.reported.needs}")
    kept = result.result()
    assert (kept["status"], kept["drift_points_below"], kept["verdicts"]["equivalent"]) == ("not run", None, 0)
    assert kept["missing"] == ["bolts", "nuts"]
    table = pages.board_rows(run, JETSON, result)
    assert table["benchmark"].tolist() == ["MVTec-AD", "VisA"]
    assert set(table["ours"]) == set(table["verdict"]) == {"not run"}
    assert set(table["needs"]) == {JETSON.reported.needs}
    assert pages.equivalence_table(result.changes).empty and pages.metric_table(result.changes).empty


def test_a_boards_result_is_shown_as_the_hosts(run: Run, give: Callable[..., None], tmp_path: Path) -> None:
    give(run.board("jetson"), 1e-4)
    result = board_drift(run, JETSON)
    assert len(result.table) == 4 and not result.missing and result.reason == ""
    assert result.largest_mean_points == 0
    table = pages.board_rows(run, JETSON, result)
    assert table["ours"].tolist() == ["+0.000"] * 2
    assert table["verdict"].tolist() == ["equivalent"] * 2
    assert table["needs"].tolist() == ["-"] * 2
    metrics = pages.metric_table(result.changes)
    assert list(metrics) == ["target", "image AUROC", "image AP", "pixel AUROC", "pixel AUPRO"]
    tested = pages.equivalence_table(result.changes)
    assert tested["below 0.2?"].tolist() == ["equivalent"] * 2
    json.dumps(result.result(), allow_nan=False)
    # The same from any other folder.
    give(tmp_path / "elsewhere", 1e-4)
    other = board_drift(run, JETSON, tmp_path / "elsewhere")
    assert other.result() == result.result()


def test_much_noise_is_not_below(run: Run, give: Callable[..., None]) -> None:
    give(run.board("jetson"), 2.0)
    result = board_drift(run, JETSON)
    assert result.verdicts()["not equivalent"] == 2
    assert pages.board_rows(run, JETSON, result)["verdict"].tolist() == ["not equivalent"] * 2


def test_what_is_missing_is_named(run: Run, give: Callable[..., None]) -> None:
    folder = run.board("jetson")
    give(folder, 1e-4, targets=("bolts",))
    (folder / "seed0" / "bolts.npz").unlink()
    result = board_drift(run, JETSON)
    assert result.missing == ["nuts"]
    # One seed is compared with the host's same seed.
    assert [(each.target, each.images) for each in result.means] == [("bolts", 80)]
    table = pages.board_rows(run, JETSON, result)
    assert table["seeds"].tolist() == ["1", "-"]
    assert table["needs"].tolist() == ["-", JETSON.reported.needs]
    assert table["ours"].tolist() == ["+0.000", "not run"]


def test_a_record_that_says_not_run(run: Run, give: Callable[..., None]) -> None:
    for target in ("bolts", "nuts"):
        give(run.board("jetson"), 0, targets=(target,))
        for seed in (0, 1):
            path = run.board("jetson") / f"seed{seed}" / f"{target}.json"
            record = json.loads(path.read_text())
            path.write_text(json.dumps(record | {"status": "not run", "reason": "the board was too hot"}))
    assert board_drift(run, JETSON).summary() == "not run: the board was too hot"


def test_exactly_zero_is_suspicious(run: Run, give: Callable[..., None]) -> None:
    give(run.board("jetson"), 1e-4)
    give(run.board("jetson"), 0, targets=("nuts",))
    result = board_drift(run, JETSON)
    assert result.suspicious == ["nuts seed 0", "nuts seed 1"]
    assert result.summary().startswith("suspicious: a drift of exactly zero on nuts seed 0, nuts seed 1")
    assert result.result()["status"] == "suspicious"
    verdicts = pages.board_rows(run, JETSON, result)["verdict"].tolist()
    assert verdicts == ["equivalent", "suspicious: exactly zero (nuts seed 0, nuts seed 1)"]


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"runtime": "qnn-gpu-fp16"}, "scores by qnn-gpu-fp16, not by tensorrt-fp16 of the Jetson"),
        ({"image_id": np.array([f"x{row}.png" for row in range(80)])}, r"no image x0\.png"),
        ({"map": np.zeros((80, 2, 2))}, "maps differ in size"),
    ],
    ids=["board", "images", "maps"],
)
def test_a_foreign_result_is_refused(run: Run, give: Callable[..., None], facts: dict, words: str) -> None:
    give(run.board("jetson"), 1e-4, **facts)
    with pytest.raises(InputError, match=words):
        board_drift(run, JETSON)


def test_latency_of_the_board_beside_the_papers(run: Run, make_scores: Make) -> None:
    for target in ("bolts", "nuts"):
        facts = {"target": target, "milliseconds": np.arange(80) % 4 + 1}
        write_scores(make_scores(HOST, LABEL, **facts), run.scores("pytorch", 0, target))
        facts |= {"runtime": "qnn-htp-fp16", "status": "not run", "reason": "no emulator here"}
        write_scores(make_scores([], [], target=target, **{k: facts[k] for k in ("runtime", "status", "reason")}),
                     run.scores("qnn-htp-fp16", 0, target))  # fmt: skip
    assert pages.latency_of(run, JETSON) is None
    table = pages.latency_table(run, ["pytorch", "qnn-htp-fp16"], JETSON, None).set_index("where")
    assert table.loc["host, pytorch", ["median ms", "status"]].tolist() == [2.5, "measured here"]
    assert "python 3" in table.loc["host, pytorch", "versions"]
    assert table.loc["host, qnn-htp-fp16", "status"] == "not run: no emulator here"
    # The board's time is the paper's word, in words, and never in the column of measured ones.
    board = table.loc[JETSON.title]
    assert np.isnan(board["median ms"])
    assert board["status"] == f"not run: needs {JETSON.reported.needs}"
    assert "32.83 ms, TensorRT FP16" in board["the paper reports"]
    assert pages.latency_result(None)["median_ms"] is None

    write_latency(latency(), run.board("jetson") / "latency.json")
    found = pages.latency_of(run, JETSON)
    board = pages.latency_table(run, [], JETSON, found).set_index("where").loc[JETSON.title]
    assert (board["median ms"], board["status"]) == (12, "measured on the board, 5 times")
    assert board["p95 ms"] == pytest.approx(42.6)
    assert "MAXN_SUPER" in board["how"] and board["versions"] == "tensorrt 10.3"
    kept = pages.latency_result(found)
    assert (kept["status"], kept["median_ms"], kept["iterations"]) == ("ok", 12, 5)
    json.dumps(kept, allow_nan=False)
    average = latency(milliseconds=[140.0], averaged=120)
    board = pages.latency_table(run, [], JETSON, average).set_index("where").loc[JETSON.title]
    assert pd.isna(board["median ms"]) and "120 times: average 140.00 ms" in board["status"]
    kept = pages.latency_result(average)
    assert (kept["median_ms"], kept["mean_ms"], kept["iterations"]) == (None, 140, 120)
    failed = latency(status="not run", reason="no trtexec", milliseconds=[])
    assert pages.latency_result(failed) == {
        "status": "not run", "reason": "no trtexec", "median_ms": None, "p95_ms": None,
    }  # fmt: skip
    assert pages.latency_table(run, [], JETSON, failed)["status"].tolist() == ["not run: no trtexec"]


def test_the_same_scores_make_the_same_page_wherever_they_come_from(run: Run, give: Callable[..., None]) -> None:
    """A board's files under its own name, and the very same under the host's FP16."""
    give(run.board("jetson"), 0.05)
    give(run.folder / "scores" / "onnx-fp16", 0.05, runtime="onnx-fp16")
    board, host = board_drift(run, JETSON), runtime_drift(run, "onnx-fp16", pixels=True)
    ours, theirs = board.result(), host.result()
    assert (ours.pop("runtime"), theirs.pop("runtime")) == (JETSON.runtime, "onnx-fp16")
    assert ours == theirs
    assert pages.equivalence_table(board.changes).equals(pages.equivalence_table(host.changes))
    assert pages.metric_table(board.changes).equals(pages.metric_table(host.changes))
