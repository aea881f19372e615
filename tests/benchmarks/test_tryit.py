"""The images that the page "Try it" is measured with: ten generated ones, and twenty of a folder without its masks."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image


def test_ten_generated_images_and_twenty_of_a_folder(script: Callable[[str], ModuleType], tmp_path: Path) -> None:
    for name in ("test/good", "ground_truth/bad"):
        folder = tmp_path / "root" / "part" / name
        folder.mkdir(parents=True)
        for number in range(40):
            Image.fromarray(np.zeros((4, 4), np.uint8)).save(folder / f"{number:02d}.png")
    made = tmp_path / "made"
    made.mkdir()
    paths = script("tryit").photographs(made, tmp_path / "root")
    sizes = set()
    for path in paths[:10]:
        with Image.open(path) as image:
            sizes.add(image.size)
    assert len(sizes) == 5
    assert {path.suffix for path in paths[:10]} == {".png", ".jpg"}
    assert len(set(paths[10:])) == 20
    assert {path.parent.name for path in paths[10:]} == {"good"}
    assert script("tryit").photographs(made) == paths[:10]
