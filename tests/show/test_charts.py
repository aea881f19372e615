"""Charts and image grids: what is drawn where, which images are picked, and SVG for the page."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from edgezsad.data.manifest import Entry, Manifest
from edgezsad.files import sha256_of_file
from edgezsad.scoring.score_file import ScoreFile
from edgezsad.show import charts
from edgezsad.show.maps import HEAT_RANGE, OUTLINE, heat_colours

FP16 = {"runtime": "onnx-fp16", "precision": "fp16"}
LABEL = np.repeat([0, 1], 6)
HOST = np.arange(12.0)
Pair = tuple[ScoreFile, ScoreFile]
MakeScores = Callable[..., ScoreFile]


@pytest.fixture
def pairs(make_scores: MakeScores) -> list[Pair]:
    """Two seeds; image 3 moves by 0.5 in one and 0.7 in the other, image 10 by -0.6 in one, all others by 0.1."""
    made = []
    for seed, moved in ((0, {3: 0.5, 10: -0.6}), (1, {3: 0.7})):
        device = HOST + [moved.get(row, 0.1) for row in range(12)]
        made.append((make_scores(HOST, LABEL, seed=seed), make_scores(device, LABEL, seed=seed, **FP16)))
    return made


def make_manifest(folder: Path, labels: np.ndarray) -> Manifest:
    """Images of grey level 20 * row; defective ones have a mask in the middle."""
    entries = []
    mask = np.zeros((80, 120), np.uint8)
    mask[20:60, 40:80] = 255
    for row, label in enumerate(labels):
        cv2.imwrite(str(folder / f"{row:03d}.png"), np.full((80, 120, 3), 20 * row, np.uint8))
        cv2.imwrite(str(folder / f"{row:03d}_mask.png"), mask)
        own = f"{row:03d}_mask.png" if label else ""
        hashes = (sha256_of_file(folder / f"{row:03d}.png"), sha256_of_file(folder / own) if own else "")
        entries.append(Entry(f"{row:03d}.png", "bolt", "test", int(label), f"kind {row}", own, 120, 80, *hashes))
    return Manifest("bolts", folder, tuple(entries))


def shown(figure: Figure) -> list[tuple[str, np.ndarray]]:
    """Title and image of every panel."""
    return [(axes.get_title(loc="left"), axes.images[0].get_array()) for axes in figure.axes if axes.images]


def test_the_gallery_agrees_with_the_threshold_and_states_its_scale(make_scores: MakeScores, tmp_path: Path) -> None:
    labels = np.array([1, 1, 0, 0, 1])
    maps = np.repeat([40.0, -40.0, -40.0, 40.0, 40.0], 16).reshape(5, 4, 4).astype(np.float32)
    scores = make_scores([3.0, -1.0, 2.0, 0.5, 9.0], labels, map=maps)
    manifest = make_manifest(tmp_path, labels)
    figure = charts.gallery(scores, manifest, threshold=1.0)
    panels = shown(figure)
    kinds = ["detection: kind 4", "detection: kind 0", "miss: kind 1", "false alarm: kind 2"]
    assert [title for title, _ in panels if ":" in title] == kinds
    found = dict(panels)
    assert (found["score +9.0"] == heat_colours()[255]).all() and (found["score -1.0"] == heat_colours()[0]).all()
    assert found["mask"].max() == 255 and found["mask"].min() == 0
    (bar,) = [axes for axes in figure.axes if "logit" in axes.get_ylabel()]
    assert bar.get_ylim() == HEAT_RANGE
    ranked = [title for title, _ in shown(charts.gallery(scores, manifest, hits=False)) if ":" in title]
    assert ranked == [f"{kind} {row}" for kind, row in zip(
        ["lowest defective: kind"] * 2 + ["highest normal: kind"] * 2, [1, 0, 2, 3], strict=True
    )]  # fmt: skip
    assert not shown(charts.gallery(scores.take(scores.image_id[2:3]), manifest, threshold=5.0))


def test_a_contact_sheet_shows_normal_and_defective_images(tmp_path: Path) -> None:
    found = shown(charts.contact_sheet(make_manifest(tmp_path, LABEL)))
    assert len(found) == 12 and found[0][0] == "bolt\nkind 0"
    assert [(image == OUTLINE).all(axis=2).any() for _, image in found] == [False] * 6 + [True] * 6


def test_svg_is_reproducible_and_its_references_resolve(tmp_path: Path) -> None:
    sheet = charts.contact_sheet(make_manifest(tmp_path, LABEL[4:8]))
    text = charts.figure_svg(sheet)
    assert text == charts.figure_svg(sheet) and "image/webp" in text and "image/png" not in text
    assert ET.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
    assert not re.search(r"\d{4}-\d\d-\d\d", text)
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', text)) <= set(re.findall(r'\bid="([^"]+)"', text))


def test_a_notebook_shows_a_figure_once_as_svg() -> None:
    from IPython.core.displaypub import CapturingDisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell

    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    try:
        shell.display_pub = CapturingDisplayPublisher()
        figure = charts.training_curves(pd.DataFrame({"0": [2.0, 1.0]}), pd.DataFrame({"0": [0.0, 0.1]}))
        # A notebook formats a cell's last value: nothing is left to draw.
        assert shell.display_formatter.format(figure) == ({}, {})
        (output,) = shell.display_pub.outputs
        assert set(output["data"]) == {"image/svg+xml", "text/plain"}
        assert output["data"]["image/svg+xml"] == charts.figure_svg(figure)
    finally:
        InteractiveShell.clear_instance()
    assert not plt.get_fignums()
