"""The gallery: the clearest hits and the worst misses of a target, as photograph, anomaly map and mask."""

import cv2
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from edgezsad.data.images import decode_image, decode_mask, prepare
from edgezsad.data.manifest import Manifest
from edgezsad.plots.overlay import HEAT, HEAT_RANGE, heat
from edgezsad.plots.scale import heat_scale
from edgezsad.plots.style import WIDTH, shown_once, styled
from edgezsad.scoring.score_file import ScoreFile

SIZE = 192


def pick(scores: ScoreFile, count: int) -> dict[str, np.ndarray]:
    """Rows of the most and the least convincing images.

    Returns:
        "hit": defective images with the highest scores; "miss": defective ones with the lowest; "false alarm":
        normal ones with the highest. At most `count` rows each.
    """
    order = np.argsort(scores.score, kind="stable")
    defective, normal = order[scores.label[order] == 1], order[scores.label[order] == 0]
    return {"hit": defective[::-1][:count], "miss": defective[:count], "false alarm": normal[::-1][:count]}


def gallery(scores: ScoreFile, manifest: Manifest, count: int = 2) -> Figure:
    """Rows of image, map and mask: the clearest hits, the worst misses and the worst false alarms of one target."""
    entries = {entry.id: entry for entry in manifest.entries}
    groups = pick(scores, count)
    with styled():
        # Images sit in a grid of groups; each takes three panels.
        figure, axes = plt.subplots(3, 3 * count, figsize=(WIDTH, WIDTH / 6 * 3.6), squeeze=False)
        for line, (name, rows) in zip(axes, groups.items(), strict=True):
            for place in line:
                place.axis("off")
            for position, row in enumerate(rows):
                entry = entries[str(scores.image_id[row])]
                image = decode_image(manifest.path(entry))
                mask = decode_mask(manifest.root / entry.mask, image.shape[:2]) if entry.mask else None
                left, middle, right = line[3 * position : 3 * position + 3]
                left.imshow(prepare(image, SIZE), interpolation="none")
                left.set_title(f"{name}: {entry.defect}", loc="left", fontsize=9)
                lit = heat(scores.map[row], SIZE)
                middle.imshow(lit, cmap=HEAT, vmin=HEAT_RANGE[0], vmax=HEAT_RANGE[1], interpolation="none")
                middle.set_title(f"score {scores.score[row]:+z.1f}", loc="left", fontsize=9)
                if mask is not None:
                    shown = cv2.resize(mask.astype(np.float32), (SIZE, SIZE), interpolation=cv2.INTER_AREA)
                    right.imshow(shown, cmap="gray", vmin=0, vmax=0.5, interpolation="none")
                    right.set_title("mask", loc="left", fontsize=9)
        figure.subplots_adjust(left=0, right=0.93, top=0.96, bottom=0, wspace=0.04, hspace=0.1)
        heat_scale(figure, (0.945, 0.1, 0.012, 0.75))
        return shown_once(figure)
