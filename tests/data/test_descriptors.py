"""Every descriptor is valid, its numbers agree with its file list, and each mistake in one is named in one line."""

from pathlib import Path

import pytest

from edgezsad.data.descriptors import descriptors, read_list
from edgezsad.errors import InputError

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "data_manifests"


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("layout: btad", "layout: voc", "layout"),
        ("name: BTAD", "name: ../BTAD", "name"),
        ("citation: btad", "cite: btad", "cite"),
        ("commercial_use: false", "commercial_use: perhaps", "licence.commercial_use"),
        ("train_normal: 400", "train_normal: -1", "expected.categories.01.train_normal"),
        ("citation: btad", "citation: [", "invalid descriptor"),
    ],
)
def test_a_mistake_is_named_in_one_line(tmp_path: Path, old, new, part):
    text = (FOLDER / "btad.yaml").read_text()
    assert old in text
    path = tmp_path / "btad.yaml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        descriptors(tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    assert part in message


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: text.rindex("\n", 0, -1) + 1],
        lambda text: text.replace("/000.png", "/00O.png", 1),
        lambda text: text.replace(",train,", ",test,", 1),
    ],
)
def test_a_damaged_list_is_named(tmp_path: Path, damage):
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "mpdd.csv").write_text(damage((FOLDER / "lists" / "mpdd.csv").read_text()))
    with pytest.raises(InputError, match="not the file list of MPDD"):
        read_list(descriptors(FOLDER)["MPDD"], tmp_path)
