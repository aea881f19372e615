"""A small set with a descriptor and a list is damaged in every way; the check must say each, and only that."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from edgezsad.cli import app
from edgezsad.config import DataSet
from edgezsad.data.check import check_copy
from edgezsad.data.copies import descriptor_table, scan
from edgezsad.data.descriptors import find_descriptor
from edgezsad.data.layouts import index
from edgezsad.data.report import EXPLAINED, LINE, NAMES_SHOWN, PROBLEMS, SCREEN, Report, Row
from edgezsad.errors import CheckError, InputError

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
            "total": {"source": "the test", **(total or {key: 2 * number for key, number in four.items()})},
            "categories_source": "the test",
            "categories": {"bolt": {} if total else four, "nut": {} if total else four},
        },
    }
    return yaml.safe_dump(content)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A complete copy; `data_manifests/` beside it describes it."""
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
    monkeypatch.setattr("edgezsad.data.descriptors.descriptors_folder", lambda: Path("data_manifests"))
    return tmp_path / "set"


def checked(root: Path, quick: bool = False, name: str = "Bolts-2") -> Report:
    return check_copy(find_descriptor(name), root, quick)


@pytest.mark.parametrize("quick", [False, True])
def test_a_complete_copy(root: Path, quick: bool):
    (root / "license.txt").write_text("free")
    (root / "bolt" / "train" / "good" / "._000.png").write_text("what macOS leaves behind")
    report = checked(root, quick)
    assert report.complete
    assert report.problems == {}
    assert report.notes == []
    assert report.total.found == {
        "images": 12, "train_normal": 4, "train_defective": 0, "test_normal": 4, "test_defective": 4, "with_mask": 4,
    }  # fmt: skip
    assert report.total.expected == report.total.found
    report.require_complete()
    assert ("nothing was opened" in report.as_text()) == quick


Damage = Callable[[Path], object]
BENT, BENT_MASK, GOOD = "bolt/test/bent/000.png", "bolt/ground_truth/bent/000_mask.png", "nut/train/good/001.png"


@pytest.mark.parametrize(
    ("damage", "problems", "counts_agree"),
    [
        (lambda root: (root / GOOD).unlink(), {"missing": [GOOD]}, False),
        (lambda root: (root / BENT_MASK).unlink(), {"missing": [BENT_MASK], "no_mask": [BENT]}, False),
        (lambda root: draw(root / "nut/test/good/1 B.PNG"), {"extra": ["nut/test/good/1 B.PNG"]}, False),
        (
            lambda root: (root / GOOD).rename(root / "nut/train/good/001.PNG"),
            {"other_case": [f"{GOOD} (here nut/train/good/001.PNG)"]},
            True,
        ),
        (lambda root: (root / GOOD).write_bytes(b"no image"), {"image": [GOOD]}, True),
        (lambda root: (root / GOOD).write_bytes((root / GOOD).read_bytes()[:45]), {"image": [GOOD]}, True),
        (lambda root: (root / BENT_MASK).write_bytes(b""), {"mask": [BENT_MASK]}, True),
        (lambda root: draw(root / BENT_MASK, SIZE[::-1]), {"mask_size": [BENT_MASK]}, True),
        (lambda root: draw(root / BENT_MASK, value=0), {"mask_empty": [BENT_MASK]}, True),
    ],
)
def test_each_damage_is_said_and_nothing_else(root: Path, damage: Damage, problems, counts_agree):
    damage(root)
    report = checked(root)
    assert report.problems == problems
    assert not report.complete
    assert report.total.agrees == counts_agree
    assert bool(report.differing) != counts_agree
    text = report.as_text()
    assert "not complete" in text.splitlines()[0]
    for names in problems.values():
        assert names[0] in text
    with pytest.raises(CheckError) as caught:
        report.require_complete()
    assert "\n" not in str(caught.value)


def test_quick_does_not_see_what_is_inside(root: Path):
    (root / GOOD).write_bytes(b"no image")
    assert checked(root, quick=True).complete


def test_a_missing_category_and_a_foreign_one(root: Path):
    (root / "nut").rename(root / "screw")
    report = checked(root, quick=True)
    assert len(report.problems["missing"]) == len(report.problems["extra"]) == 8
    assert [row.category for row in report.differing] == ["nut", "screw"]
    text = report.as_text()
    assert "0 of 2" in text and "2 of 0" in text
    assert "and 6 more" in text, "two names fill the line"


@pytest.mark.parametrize("name", ["bolt/overview.png", "overview.png", "docs/a/1.png", "bolt/ground_truth/bent/9.png"])
def test_any_image_that_the_public_list_does_not_name_is_too_many(root: Path, name: str):
    draw(root / name)
    problems = checked(root).problems
    assert list(problems) == (["refused"] if name == "bolt/overview.png" else ["extra"])
    assert name in next(iter(problems.values()))[0]


def test_without_a_list_what_the_layout_does_not_read_is_noted(root: Path):
    draw(root / "bolt/ground_truth/overview.png")
    report = checked(root, name="any")
    assert report.complete
    assert report.notes == ["image files that the layout does not read: 1 (bolt/ground_truth/overview.png)"]


def link_to_nothing(root: Path) -> None:
    (root / "bolt/test/old").symlink_to("nowhere")


def pipe(root: Path) -> None:
    os.mkfifo(root / "bolt/train/good/9.png")


@pytest.mark.parametrize(
    ("damage", "name"),
    [
        (link_to_nothing, "bolt/test/old"),
        (pipe, "bolt/train/good/9.png"),
        (lambda root: (root / "bolt/train/good/9.png").mkdir(), "bolt/train/good/9.png"),
        (lambda root: (root / "bolt/train/good/9.webp").touch(), "bolt/train/good/9.webp"),
        (lambda root: draw(root / "bolt/test/9.png"), "bolt/test/9.png"),
        (lambda root: draw(root / "bolt/test/good/more/9.png"), "bolt/test/good/more/9.png"),
        (lambda root: (root / "test").mkdir(), "test"),
    ],
)
@pytest.mark.parametrize("set_name", ["Bolts-2", "any"])
def test_one_odd_name_hides_nothing(root: Path, damage: Damage, name: str, set_name: str):
    """The counts of all categories are right, and damage further on is found."""
    damage(root)
    (root / GOOD).write_bytes(b"")
    report = checked(root, name=set_name)
    assert list(report.problems) == ["refused", "image"]
    assert [line.partition(": ")[0] for line in report.problems["refused"]] == [name]
    assert report.problems["image"] == [GOOD]
    assert report.total.found["images"] == 12
    with pytest.raises(InputError, match=str(root / name)):
        index(DataSet(name="any", layout="mvtec", root=root), root)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"plain text", "holds text"),
        (b"\xff\xd8\xff", "not an image"),
    ],
)
def test_it_is_said_what_is_wrong_with_an_image(root: Path, content: bytes, reason: str):
    (root / GOOD).write_bytes(content)
    report = checked(root, name="any")
    assert reason in report.reasons[GOOD]
    assert f"    {GOOD}: {report.reasons[GOOD]}" in report.as_text().splitlines()
    with pytest.raises(CheckError, match=r"mend or remove what is named above$"):
        report.require_complete()
    with pytest.raises(CheckError, match=r"again from https://example.org$"):
        checked(root).require_complete()


def test_a_mask_that_means_two_things_is_no_damaged_one(root: Path):
    mask = Image.new("P", SIZE[::-1])
    mask.putpalette([255] * 768)
    mask.save(root / BENT_MASK)
    report = checked(root)
    assert "palette is not black" in report.reasons[BENT_MASK]
    assert "masks that can not be used: 1" in report.as_text()


def test_odd_names_do_not_reach_the_terminal(root: Path):
    odd = "bolt/train/good/a\n\x1b[31mb.png"
    draw(root / odd)
    (root / "bolt/test/gone\x1b[2J").symlink_to("nowhere")
    text = checked(root, name="any").as_text()
    assert all(line.isprintable() for line in text.splitlines())
    assert "a\\n\\x1b[31mb.png" in text and "gone\\x1b[2J" in text


def test_a_full_screen_is_one_screen(root: Path):
    for number in range(30):
        draw(root / f"c{number}/train/good/0.png")
        (root / f"c{number}/train/good/1.png").touch()
        (root / f"c{number}/test").symlink_to("nowhere")
    text = checked(root, name="any").as_text()
    assert len(text.splitlines()) < 24
    assert "and 22 more categories, how many images there should be in each is unknown" in text


@pytest.mark.parametrize("kinds", range(len(PROBLEMS) + 1))
def test_whatever_is_wrong_is_one_screen(kinds: int):
    """Every kind of problem, a hundred files of each, under long names: each kind and its number are still there."""
    names = [f"category_{n}/ground_truth/a_kind_of_defect/{n:03d}_mask.png" for n in range(100)]
    chosen = list(PROBLEMS)[:kinds]
    rows = [Row(f"category_{n}", {"images": 3}, {"images": 5}) for n in range(40)]
    report = Report(
        name="Bolts-2",
        root=Path("set"),
        home="",
        quick=False,
        whole=True,
        problems=dict.fromkeys(chosen, names),
        reasons=dict.fromkeys(names, "damaged or cut off (image file is truncated); copy it again"),
        notes=[],
        total=Row("all", {"images": 120}, {"images": 200}),
        categories=rows,
    )
    lines = report.as_text().splitlines()
    assert len(lines) <= SCREEN
    assert all(len(line) <= LINE + len("  ") or line.count("_mask.png") == 1 for line in lines)
    assert [kind for kind in chosen if not any(line.startswith(f"  {PROBLEMS[kind]}: 100") for line in lines)] == []
    assert sum("image file is truncated" in line for line in lines) >= sum(kind in EXPLAINED for kind in chosen)
    assert any("120 of 200" in line for line in lines) and "more categories, not all as expected" in lines[-1]


def test_stray_files_of_the_archive_are_known(root: Path):
    path = Path("data_manifests/bolts.yaml")
    path.write_text(path.read_text() + "stray: [bolt/overview.png]\n")
    draw(root / "bolt" / "overview.png")
    assert checked(root).notes == []


@pytest.mark.parametrize(("place", "complete"), [("set/.store", True), ("elsewhere", False)])
def test_links_may_not_lead_out(root: Path, tmp_path: Path, place: str, complete: bool):
    (root / "nut").rename(tmp_path / place)
    (root / "nut").symlink_to(tmp_path / place, target_is_directory=True)
    report = checked(root)
    assert report.complete == complete
    assert list(report.problems) == ([] if complete else ["refused"])
    assert all("leads out" in line for line in report.problems.get("refused", []))
    assert report.total.agrees


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file(root: Path):
    (root / GOOD).chmod(0)
    assert checked(root).problems == {"image": [GOOD]}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("mode", [0, 0o444])
@pytest.mark.parametrize("name", ["nut", "nut/train", "nut/train/good"])
@pytest.mark.parametrize("set_name", ["Bolts-2", "any"])
def test_an_unreadable_folder(root: Path, mode: int, name: str, set_name: str):
    (root / name).chmod(mode)
    try:
        report = checked(root, name=set_name)
    finally:
        (root / name).chmod(0o755)
    assert not report.complete
    assert [row.found["images"] for row in report.categories if row.category == "bolt"] == [6]


def test_without_a_list_the_numbers_decide(root: Path):
    Path("data_manifests/bolts.yaml").write_text(descriptor_text(file_list=None))
    assert checked(root).complete
    (root / GOOD).unlink()
    report = checked(root)
    assert report.problems == {}
    assert not report.complete
    with pytest.raises(CheckError, match="wrong numbers of images"):
        report.require_complete()


def test_unknown_numbers_are_not_compared(root: Path):
    Path("data_manifests/bolts.yaml").write_text(descriptor_text(file_list=None, test_normal=4))
    (root / GOOD).unlink()
    report = checked(root)
    assert report.complete
    assert "how many images there should be is unknown" in report.as_text()
    (root / "nut/test/good/000.png").unlink()
    assert not checked(root).complete


def test_any_folder(root: Path):
    (root / BENT_MASK).unlink()
    report = checked(root, name="any")
    assert report.complete
    assert report.notes == ["defective images without a mask, left out of pixel metrics: 1"]
    (root / GOOD).write_bytes(b"no image")
    assert checked(root, name="any").problems == {"image": [GOOD]}


def test_a_mask_that_outlived_its_image(root: Path):
    """Without a list nothing else tells that the image was there."""
    (root / BENT).unlink()
    draw(root / "bolt/ground_truth/000.png")
    report = checked(root, name="any")
    assert report.problems == {"missing": [f"the image of {BENT_MASK}"]}
    assert report.notes == ["image files that the layout does not read: 1 (bolt/ground_truth/000.png)"]
    assert not report.complete
    # A public list names the image itself.
    assert checked(root).problems == {"missing": [BENT], "extra": ["bolt/ground_truth/000.png"]}


def test_labels_that_only_masks_tell(root: Path, tmp_path: Path):
    copy = tmp_path / "ksdd2"
    for split in ("train", "test"):
        for number in range(3):
            draw(copy / split / f"{number}.png")
            draw(copy / split / f"{number}_GT.png", value=255 * (number == 0))
    four = {"train_normal": 4, "train_defective": 2, "test_normal": 4, "test_defective": 2}
    text = descriptor_text("ksdd2", None, **{key: number // 2 for key, number in four.items()})
    content = yaml.safe_load(text)
    content["expected"]["categories"] = {"KolektorSDD2": {}}
    Path("data_manifests/bolts.yaml").write_text(yaml.safe_dump(content))
    opened, quick = checked(copy), checked(copy, quick=True)
    assert opened.complete and quick.complete
    assert (opened.total.found["train_defective"], opened.total.found["with_mask"]) == (1, 2)
    assert quick.total.found == {"images": 6, "train": 3, "test": 3}
    for damage in (lambda path: path.write_bytes(b""), lambda path: path.unlink()):
        damage(copy / "train" / "0_GT.png")
        report = checked(copy)
        assert report.total.found["images"] == 6
        assert report.total.found["train_defective"] == 0, "labels are compared, though one is unknown"
        assert [row.expected["train_defective"] for row in (report.total,)] == [1]
        assert list(report.problems) == (["mask"] if (copy / "train" / "0_GT.png").exists() else ["refused"])


def test_a_set_whose_own_list_names_files_that_are_not_there(root: Path, tmp_path: Path):
    copy = tmp_path / "visa"
    rows = ["object,split,label,image,mask", "bolt,train,normal,bolt/a.JPG,", "bolt,test,anomaly,bolt/b.JPG,bolt/b.png"]
    (copy / "split_csv").mkdir(parents=True)
    (copy / "split_csv" / "1cls.csv").write_text("\n".join(rows))
    draw(copy / "bolt" / "a.JPG")
    Path("data_manifests/bolts.yaml").write_text(descriptor_text("visa", None, images=2))
    report = checked(copy)
    assert report.problems == {"missing": ["bolt/b.JPG", "bolt/b.png"], "category": ["nut"]}
    source = copy / "split_csv" / "1cls.csv"
    source.write_text("\n".join([*rows, "bolt,middle,normal,bolt/c.JPG,", f"bolt,train,normal,bolt/{'d' * 300}.JPG,"]))
    report = checked(copy)
    assert report.problems["refused"] == ["split_csv/1cls.csv: line 4 is damaged; unpack the data set again"]
    assert f"bolt/{'d' * 300}.JPG" in report.problems["missing"], "a name too long for a file, behind the damage"
    assert report.total.found["images"] == 1


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
    assert checked(copy).complete
    return copy


@pytest.mark.parametrize(
    ("old", "new", "image", "reason"),
    [
        (VISA[0], "bolt,test,normal,bolt/a.JPG,", "bolt/a.JPG", "test, not train"),
        (
            VISA[0],
            "bolt,train,anomaly,bolt/a.JPG,bolt/b.JPG",
            "bolt/a.JPG",
            "bolt/b.JPG, not no mask; defective, not normal",
        ),
        (VISA[2], "bolt,test,anomaly,bolt/c.JPG,bolt/a.JPG", "bolt/c.JPG", "bolt/a.JPG, not bolt/c.png"),
        (VISA[1], "", "bolt/b.JPG", "left out of the set's own list"),
    ],
)
def test_a_list_that_contradicts_the_public_one(visa: Path, old: str, new: str, image: str, reason: str):
    source = visa / "split_csv" / "1cls.csv"
    source.write_text(source.read_text().replace(old, new))
    report = checked(visa, quick=True)
    assert report.problems["otherwise"] == [image]
    assert report.reasons[image] == reason
    assert f"    {image}: {reason}" in report.as_text().splitlines()
    assert descriptor_table({"Bolts-2": visa})["on this machine"][0].startswith("here, ")
    assert descriptor_table({"Bolts-2": visa})["on this machine"][0] != "here, complete"


@pytest.mark.parametrize("damage", ["quotation mark", "pipe", "gone"])
def test_what_could_not_be_listed_is_not_counted(visa: Path, damage: str):
    source = visa / "split_csv" / "1cls.csv"
    text = source.read_text()
    source.unlink()
    if damage == "quotation mark":
        source.write_text(text.replace("bolt/b", '"bolt/b'))
    elif damage == "pipe":
        os.mkfifo(source)
    report = checked(visa)
    assert not report.complete
    assert list(report.problems) == ["refused"]
    assert (report.total.found, report.categories) == ({}, [])
    assert "were not counted" in report.as_text()
    with pytest.raises(CheckError, match="an index refuses: 1; "):
        report.require_complete()


def real_iad(copy: Path, *categories: str) -> None:
    for category in categories:
        draw(copy / "realiad_1024" / category / "OK" / "a.jpg")
        row = {"category": category, "anomaly_class": "OK", "image_path": "OK/a.jpg", "mask_path": None}
        place = copy / "realiad_jsons" / "realiad_jsons"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{category}.json").write_text(json.dumps({"train": [row], "test": []}))


@pytest.mark.parametrize("damage", ["gone", "cut off", "pipe"])
def test_a_described_category_without_images_comes_first(root: Path, tmp_path: Path, damage: str):
    Path("data_manifests/bolts.yaml").write_text(descriptor_text("real_iad", None, images=2))
    copy = tmp_path / "real"
    real_iad(copy, "bolt", "nut")
    assert checked(copy).complete
    source = copy / "realiad_jsons/realiad_jsons/nut.json"
    source.unlink()
    if damage == "cut off":
        source.write_text("{")
    elif damage == "pipe":
        os.mkfifo(source)
    report = checked(copy)
    assert report.problems["category"] == ["nut"]
    assert ("refused" in report.problems) == (damage != "gone")
    assert [row.category for row in report.differing] == ["nut"]
    assert report.as_text().splitlines()[-2].split()[0] == "nut"


def test_a_folder_above_is_recognised(root: Path):
    with pytest.raises(InputError, match=f"did you mean {root}\\?"):
        scan(find_descriptor("any"), root.parent)


def test_no_other_folder_is_proposed_where_this_one_is_damaged(tmp_path: Path):
    (tmp_path / "set/bolt/train").mkdir(parents=True)
    (tmp_path / "set/bolt/train/good").symlink_to("nowhere")
    draw(tmp_path / "set/train/good/train/good/1.png")
    with pytest.raises(InputError) as caught:
        scan(None, tmp_path / "set/bolt")
    assert "is a link to nothing" in str(caught.value) and "did you mean" not in str(caught.value)


# The command ----------------------------------------------------------------------------------------------------------


def run(*arguments: str):
    return CliRunner().invoke(app, ["data", "check", *arguments])


def test_command_on_a_complete_copy(root: Path):
    done = run("bolts-2", str(root))
    assert done.exit_code == 0
    assert len(done.stdout.splitlines()) < 24


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("bolts", "set"), "did you mean Bolts-2?"),
        (("bolts-2", "nowhere"), "nowhere: no such folder"),
        (("bolts-2", "data_manifests"), "data_manifests: no images found"),
        (("bolts-2", "data_manifests/bolts.yaml"), "not a folder"),
        (("", "set"), "an empty name: no such data set"),
    ],
)
def test_wrong_input_is_not_a_failed_check(root: Path, arguments, part):
    done = run(*arguments)
    assert isinstance(done.exception, InputError)
    assert done.exception.exit_code == 2
    assert part in str(done.exception)
    assert "\n" not in str(done.exception)


def test_an_empty_folder_name_is_not_the_current_folder(root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(root)
    done = run("any", "")
    assert done.exit_code == 2
    assert "is empty" in done.output


def test_json_says_all_and_the_check_fails(root: Path):
    for number in range(NAMES_SHOWN + 2):
        draw(root / f"bolt/train/good/9{number}.png")
    done = run("bolts-2", str(root), "--json", "--quick")
    assert isinstance(done.exception, CheckError)
    assert done.exception.exit_code == 1
    content = json.loads(done.stdout)
    assert content["complete"] is False
    assert len(content["problems"]["extra"]) == NAMES_SHOWN + 2
    assert content["total"]["found"]["train_normal"] == 4 + NAMES_SHOWN + 2


# The table ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "status"),
    [
        (lambda root: None, "here, complete"),
        (lambda root: (root / GOOD).unlink(), "here, 1 file missing"),
        (lambda root: [(root / name).unlink() for name in (GOOD, BENT_MASK)], "here, 2 files missing"),
        (lambda root: draw(root / "bolt/train/good/9.png"), "here, 1 file too many"),
        (link_to_nothing, "here, damaged"),
    ],
)
def test_status_of_a_copy(root: Path, damage: Damage, status: str):
    damage(root)
    assert descriptor_table({"Bolts-2": root})["on this machine"].tolist() == [status]


def test_status_without_a_list(root: Path):
    Path("data_manifests/bolts.yaml").write_text(descriptor_text(file_list=None))
    assert descriptor_table({"Bolts-2": root})["on this machine"].tolist() == ["here, complete"]
    (root / GOOD).unlink()
    assert descriptor_table({"Bolts-2": root})["on this machine"].tolist() == ["here, 1 file missing"]
    assert descriptor_table({})["on this machine"].tolist() == ["not here"]
