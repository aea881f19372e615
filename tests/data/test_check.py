"""A small set with a descriptor and a public list is damaged in every way; the check reports each, and only that."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from edgezsad.cli import app
from edgezsad.config import DataSet
from edgezsad.data.check import (
    BAD_MASK,
    COUNTS,
    DIFFERENT,
    EMPTY_MASK,
    EXTRA,
    INVALID,
    MISSING,
    NO_MASK,
    SHOWN,
    UNREADABLE,
    check_dataset,
    descriptor_table,
)
from edgezsad.data.descriptors import as_published, descriptors, find_descriptor, read_list
from edgezsad.data.layouts import HEATMAP
from edgezsad.errors import CheckError, InputError

FOLDER = Path(__file__).resolve().parents[2] / "data_manifests"
SIZE = (6, 9)
"""Height and width; not square, so that a swap shows."""

IMAGES = [
    *(f"{category}/{split}/good/00{number}.png" for category in ("bolt", "nut") for split in ("train", "test")
      for number in range(2)),
    *(f"{category}/test/bent/00{number}.png" for category in ("bolt", "nut") for number in range(2)),
]  # fmt: skip


def mask_of(image: str) -> str:
    return image.replace("/test/", "/ground_truth/").replace(".png", "_mask.png") if "/bent/" in image else ""


def draw(path: Path, size: tuple[int, int] = SIZE, value: int = 200) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros(size, np.uint8)
    pixels[1:3, 2:4] = value
    Image.fromarray(pixels).save(path)


def descriptor_text(layout: str = "mvtec", file_list: str | None = "lists/bolts.csv", **total: int) -> str:
    four = {"train_normal": 2, "train_defective": 0, "test_normal": 2, "test_defective": 2, "with_mask": 2}
    content = {
        "name": "Bolts-2",
        "title": "Bolts",
        "home": "https://example.org",
        "licence": {"name": "free", "commercial_use": True},
        "citation": "bolts",
        "layout": layout,
        "archives": None,
        "steps": ["Draw it."],
        "file_list": file_list,
        "expected": {
            "total_source": "the test",
            "total": total or {key: 2 * number for key, number in four.items()},
            "categories_source": "the test",
            "categories": {"bolt": {} if total else four, "nut": {} if total else four},
        },
    }
    return yaml.safe_dump(content)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A complete copy; `data_manifests/` next to it describes it."""
    lists = tmp_path / "data_manifests" / "lists"
    lists.mkdir(parents=True)
    rows = ["category,split,label,defect,image,mask"]
    for image in sorted(IMAGES):
        category, split, kind, _ = image.split("/")
        label = "normal" if kind == "good" else "defective"
        rows.append(f"{category},{split},{label},{kind},{image},{mask_of(image)}")
        draw(tmp_path / "set" / image)
        if mask_of(image):
            draw(tmp_path / "set" / mask_of(image), value=3)
    (lists / "bolts.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "data_manifests" / "bolts.yaml").write_text(descriptor_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("edgezsad.data.descriptors.shipped", lambda _: Path("data_manifests"))
    return tmp_path / "set"


Damage = Callable[[Path], object]
BENT, BENT_MASK, GOOD = "bolt/test/bent/000.png", "bolt/ground_truth/bent/000_mask.png", "nut/train/good/001.png"


@pytest.mark.parametrize("quick", [False, True])
def test_a_complete_copy(root: Path, quick: bool) -> None:
    (root / "license.txt").write_text("free")
    (root / "bolt" / "train" / "good" / "._000.png").write_text("what macOS leaves behind")
    draw(root / ("bolt/test/good/000.png" + HEATMAP))
    report = check_dataset("bolts-2", root, quick)
    assert report.complete and report.problems == {} and report.notes == []
    report.require_complete()
    assert report.as_text().splitlines()[0].startswith(f"Bolts-2 in {root}: 12 images, complete")
    assert descriptor_table()[["set", "images"]].to_numpy().tolist() == [["Bolts-2", "12"]]


def files(problems: dict[str, list[str]]) -> dict[str, list[str]]:
    """The problems without reasons and without counts."""
    return {kind: [line.partition(": ")[0] for line in lines] for kind, lines in problems.items() if kind != COUNTS}


@pytest.mark.parametrize(
    ("damage", "problems", "counts_agree"),
    [
        (lambda root: (root / GOOD).unlink(), {MISSING: [GOOD]}, False),
        (lambda root: (root / BENT_MASK).unlink(), {MISSING: [BENT_MASK], NO_MASK: [BENT]}, False),
        (lambda root: draw(root / "nut/test/good/1 B.PNG"), {EXTRA: ["nut/test/good/1 B.PNG"]}, False),
        (lambda root: (root / GOOD).write_bytes(b"not an image"), {UNREADABLE: [GOOD]}, True),
        (lambda root: (root / GOOD).write_bytes((root / GOOD).read_bytes()[:45]), {UNREADABLE: [GOOD]}, True),
        (lambda root: (root / BENT_MASK).write_bytes(b""), {BAD_MASK: [BENT_MASK]}, True),
        (lambda root: draw(root / BENT_MASK, SIZE[::-1]), {BAD_MASK: [BENT_MASK]}, True),
        (lambda root: draw(root / BENT_MASK, value=0), {EMPTY_MASK: [BENT_MASK]}, True),
        (lambda root: (root / "bolt/train/good/9.webp").touch(), {INVALID: ["bolt/train/good/9.webp"]}, True),
    ],
)
def test_each_damage_is_reported_and_nothing_else(root: Path, damage: Damage, problems, counts_agree: bool) -> None:
    damage(root)
    report = check_dataset("Bolts-2", root)
    assert files(report.problems) == problems
    assert (COUNTS not in report.problems) == counts_agree
    assert all(names[0] in report.as_text() for names in problems.values())
    with pytest.raises(CheckError, match=r"https://example.org$"):
        report.require_complete()


def test_without_a_list_the_numbers_decide(root: Path) -> None:
    Path("data_manifests/bolts.yaml").write_text(descriptor_text(file_list=None))
    assert check_dataset("Bolts-2", root).complete
    (root / GOOD).unlink()
    assert check_dataset("Bolts-2", root).problems[COUNTS][0] == "images 11 of 12"


def test_any_folder(root: Path) -> None:
    (root / BENT_MASK).unlink()
    draw(root / "docs/overview.png")
    report = check_dataset("any", root)
    assert report.complete
    assert len(report.notes) == 2
    (root / GOOD).write_bytes(b"not an image")
    assert files(check_dataset("any", root).problems) == {UNREADABLE: [GOOD]}


def test_labels_that_only_masks_give(root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "ksdd2"
    for split in ("train", "test"):
        for number in range(3):
            draw(copy / split / f"{number}.png")
            draw(copy / split / f"{number}_GT.png", value=255 * (number == 0))
    four = {"train_normal": 2, "train_defective": 1, "test_normal": 2, "test_defective": 1}
    content = yaml.safe_load(descriptor_text("ksdd2", None, **four))
    content["expected"]["categories"] = {"KolektorSDD2": {}}
    Path("data_manifests/bolts.yaml").write_text(yaml.safe_dump(content))
    assert check_dataset("Bolts-2", copy).complete
    assert check_dataset("Bolts-2", copy, quick=True).complete
    draw(copy / "train" / "1_GT.png", value=9)
    assert check_dataset("Bolts-2", copy).problems[COUNTS] == ["train normal 1 of 2", "train defective 2 of 1"]
    assert check_dataset("Bolts-2", copy, quick=True).complete


VISA = ["bolt,train,normal,bolt/a.JPG,", "bolt,test,normal,bolt/b.JPG,", "bolt,test,anomaly,bolt/c.JPG,bolt/c.png"]


@pytest.fixture
def visa(root: Path, tmp_path: Path) -> Path:
    """A set whose own list agrees with the public one."""
    copy = tmp_path / "visa"
    for name in ("a.JPG", "b.JPG", "c.JPG", "c.png"):
        draw(copy / "bolt" / name)
    (copy / "split_csv").mkdir()
    (copy / "split_csv" / "1cls.csv").write_text("\n".join(["object,split,label,image,mask", *VISA]))
    public = "category,split,label,defect,image,mask\n" + "\n".join(VISA) + "\n"
    public = public.replace("anomaly,", "defective,anomaly,").replace("normal,", "normal,good,")
    Path("data_manifests/lists/bolts.csv").write_text(public)
    content = yaml.safe_load(descriptor_text("visa", images=3))
    content["expected"]["categories"] = {"bolt": {"images": 3}}
    Path("data_manifests/bolts.yaml").write_text(yaml.safe_dump(content))
    assert check_dataset("Bolts-2", copy).complete
    return copy


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (VISA[0], "bolt,test,normal,bolt/a.JPG,", "bolt/a.JPG: split 'test', expected 'train'"),
        (VISA[2], "bolt,test,anomaly,bolt/c.JPG,bolt/d.png", "bolt/c.JPG: mask 'bolt/d.png', expected 'bolt/c.png'"),
        (VISA[1], "", "bolt/b.JPG: not in the copy's own list"),
    ],
)
def test_a_list_that_differs_from_the_public_one(visa: Path, old: str, new: str, line: str) -> None:
    source = visa / "split_csv" / "1cls.csv"
    source.write_text(source.read_text().replace(old, new))
    assert check_dataset("Bolts-2", visa, quick=True).problems[DIFFERENT] == [line]


def test_a_damaged_list(visa: Path) -> None:
    source = visa / "split_csv" / "1cls.csv"
    source.write_text(source.read_text().replace("bolt/b", '"bolt/b'))
    (line,) = check_dataset("Bolts-2", visa).problems[INVALID]
    assert "1cls.csv: damaged" in line
    source.unlink()
    with pytest.raises(InputError, match=r"1cls\.csv: No such file"):
        check_dataset("Bolts-2", visa)


def test_differences_from_the_published_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgezsad.data.descriptors.shipped", lambda _: FOLDER)
    for name, layout in (("MVTec-AD", "mvtec"), ("VisA", "visa"), ("MPDD", "mpdd")):
        images = read_list(find_descriptor(name, FOLDER), FOLDER)
        item = DataSet(name=name, layout=layout, root=Path("x"))
        assert as_published(item, images) == "yes"
    assert as_published(item, images[:-1]) == "no: images 1,345 of 1,346"
    moved = [*images[:-1], replace(images[-1], category="connector")]
    assert as_published(item, moved).startswith("no: connector: images 173 of 172")
    part = DataSet(name="MPDD", layout="mpdd", root=Path("x"), categories=("tubes",))
    for other in (DataSet(name="bolts", layout="mvtec", root=Path("x")), part):
        assert as_published(other, images) is None


def run(*arguments: str):
    return CliRunner().invoke(app, ["data", "check", *arguments])


def test_command(root: Path) -> None:
    assert run("bolts-2", str(root)).exit_code == 0
    for number in range(SHOWN + 2):
        draw(root / f"bolt/train/good/9{number}.png")
    done = run("bolts-2", str(root), "--json", "--quick")
    assert isinstance(done.exception, CheckError) and done.exception.exit_code == 1
    content = json.loads(done.stdout)
    assert content["complete"] is False
    assert len(content["problems"][EXTRA]) == SHOWN + 2


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
