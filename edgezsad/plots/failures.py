"""The images of photographs' sets that the committed checkpoint ranks most wrongly, computed where the photographs are.

An image fails where a comparison of it does: a defective one that a normal one of its category outscores, or the other
way round. Which images these are is chosen by their scores alone (`worst`), apart from how they are drawn (`drawn`).
No photograph comes with the package, so that a page without them says what it needs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from edgezsad.checkpoints import SEEN, UNSEEN
from edgezsad.config import Profile
from edgezsad.data.folders import folders
from edgezsad.data.manifest import Manifest
from edgezsad.errors import InputError
from edgezsad.evaluate import score, test_images
from edgezsad.plots.contact import outlined
from edgezsad.plots.gallery import pick
from edgezsad.plots.overlay import HEAT, HEAT_RANGE, heat
from edgezsad.plots.scale import heat_scale
from edgezsad.plots.style import WIDTH, shown_once, styled
from edgezsad.predict import Scorer, load_scorer
from edgezsad.scoring.score_file import ScoreFile

COUNT = 3
"""Images of either kind that are drawn of a category."""
SIZE = 160
"""Longer side of a photograph, and either side of a map before it is stretched, in pixels."""
TALLEST = 1.5
WORDS = 0.45
"""Inches over a row of images."""
NOT_SHOWN = (
    "not shown: needs the photographs; .venv/bin/python -m edgezsad.execute notebooks/15_photographs.ipynb "
    "photographs.ipynb photographs=/path/to/them"
)


@dataclass(frozen=True)
class Failures:
    """What is wrong in one category.

    Attributes:
        manifest: of its set.
        scores: of its test images.
        wrong: for each of them, how many images of the other label it stands on the wrong side of, see `outranked`.
        missed: rows of defective images, lowest score first.
        alarms: rows of normal images, highest score first.
    """

    manifest: Manifest
    scores: ScoreFile
    wrong: np.ndarray
    missed: np.ndarray
    alarms: np.ndarray

    @property
    def category(self) -> str:
        """Its name."""
        return str(self.scores.category[0])

    def as_text(self) -> str:
        """One line over the pictures: where it is from, and how many images of all fail."""
        label, fail = self.scores.label, self.wrong > 0
        defective, normal = int((label == 1).sum()), int((label == 0).sum())
        known = "; the checkpoint was trained on images of this set" if self.manifest.name in SEEN else ""
        if not defective or not normal:
            return f"**{self.category}** ({self.manifest.name}{known}): all test images are of one kind"
        return (
            f"**{self.category}** ({self.manifest.name}{known}): {int((fail & (label == 1)).sum())} of {defective} "
            f"defective images are outscored by a normal one, {int((fail & (label == 0)).sum())} of {normal} "
            "normal images outscore a defective one (ties count)"
        )


def outranked(value: np.ndarray, label: np.ndarray) -> np.ndarray:
    """For a defective image, how many normal ones score as high or higher; for a normal one, how many defective ones
    score as low or lower.

    Args:
        value: (N,) scores.
        label: (N,) 0 normal, 1 defective.

    Returns:
        (N,) int; the sum over either label is the number of pairs in the wrong order, ties counted.
    """
    normal, defective = np.sort(value[label == 0]), np.sort(value[label == 1])
    above = len(normal) - np.searchsorted(normal, value, side="left")
    beneath = np.searchsorted(defective, value, side="right")
    return np.where(label == 1, above, beneath)


def worst(scores: ScoreFile, manifest: Manifest, count: int = COUNT) -> list[Failures]:
    """The most wrong images of every category: at most `count` of either kind, and none that is not wrong at all."""
    found = []
    for category in np.unique(scores.category):
        one = scores.take(scores.image_id[scores.category == category])
        wrong = outranked(one.score, one.label)
        rows = {name: chosen[wrong[chosen] > 0] for name, chosen in pick(one, count).items()}
        found.append(Failures(manifest, one, wrong, rows["miss"], rows["false alarm"]))
    return found


def folder_of(photographs: str, profile: Profile) -> Path | None:
    """Where the photographs are: what the notebook is given, or else the data of a run on photographs; None without.

    Raises:
        InputError: a folder is given that is not there.
    """
    if photographs:
        if not (folder := Path(photographs)).is_dir():
            raise InputError(f"{photographs}: no such folder; give the folder of the photographs, or none")
        return folder
    root = profile.data.root
    of_photographs = profile.profile == "folder" and root is not None and any((root / name).is_dir() for name in UNSEEN)
    return root if of_photographs else None


def sets_in(folder: Path) -> list[Path]:
    """The folders in MVTec layout that are tested: those of `UNSEEN` where there are any, or else all, or `folder`.

    Raises:
        InputError: there is none.
    """
    if unseen := [folder / name for name in UNSEEN if (folder / name).is_dir()]:
        return unseen
    if (folder / "test").is_dir() or any((inner / "test").is_dir() for inner in folders(folder)):
        return [folder]
    inner = [one for one in folders(folder) if any((category / "test").is_dir() for category in folders(one))]
    if not inner:
        raise InputError(f"{folder}: no test images; they lie in SET/CATEGORY/test/good and SET/CATEGORY/test/DEFECT")
    return inner


def failures(folder: Path | None, scorer: Scorer | None = None, count: int = COUNT) -> Iterator[Failures]:
    """Score the test images of the sets in a folder, as `edgezsad predict` does; nothing comes of no folder.

    Args:
        folder: see `sets_in`.
        scorer: what scores; the committed checkpoint if none.
        count: see `worst`.

    Raises:
        InputError: no test images, or a file that cannot be read.
    """
    if folder is None:
        return
    scorer = scorer or load_scorer()[0]
    for manifest in test_images(sets_in(folder)):
        yield from worst(score(scorer, manifest), manifest, count)


def drawn(found: Failures, count: int = COUNT) -> Figure:
    """A row of missed defects and a row of false alarms, each image beside its map; an empty place where none fails.

    Over a photograph stands its kind of defect, over a map how many images of the other label outrank it.
    """
    entries = {entry.id: entry for entry in found.manifest.entries}
    label = found.scores.label
    lines = (
        ("defective, scored too low; over a map: normal images that score as high or higher", found.missed, 0),
        ("normal, scored too high; over a map: defective images that score as low or lower", found.alarms, 1),
    )
    shown = [entries[str(found.scores.image_id[row])] for row in (*found.missed, *found.alarms)]
    # As tall as the tallest, within reason; the words over a row take their height in inches.
    tall = min(max((entry.height / entry.width for entry in shown), default=TALLEST), TALLEST)
    height = 2 * (0.93 * WIDTH / (2 * count) * tall + WORDS)
    with styled():
        figure, axes = plt.subplots(2, 2 * count, figsize=(WIDTH, height), squeeze=False)
        for line, (words, rows, other) in zip(axes, lines, strict=True):
            for place in line:
                place.axis("off")
            line[0].annotate(
                words if len(rows) else f"{words.partition(',')[0]}: none",
                (0, 1),
                (0, 16),
                xycoords="axes fraction",
                textcoords="offset points",
                fontsize=8,
                fontweight="bold",
            )
            for position, row in enumerate(rows):
                entry = entries[str(found.scores.image_id[row])]
                left, right = line[2 * position : 2 * position + 2]
                outlined(left, found.manifest, entry, SIZE)
                left.set_title(entry.defect, loc="left", fontsize=8, pad=2)
                right.imshow(
                    heat(found.scores.map[row], SIZE),
                    cmap=HEAT,
                    vmin=HEAT_RANGE[0],
                    vmax=HEAT_RANGE[1],
                    interpolation="none",
                    # A map is square; it is shown in the photograph's shape.
                    aspect=entry.height / entry.width,
                )
                outranks = f"{found.wrong[row]} of {int((label == other).sum())}"
                right.set_title(outranks, loc="left", fontsize=8, pad=2)
        figure.subplots_adjust(left=0, right=0.93, top=1 - WORDS / height, bottom=0, wspace=0.04)
        figure.subplots_adjust(hspace=WORDS / (height / 2 - WORDS))
        heat_scale(figure, (0.945, 0.1, 0.012, 0.75))
        return shown_once(figure)
