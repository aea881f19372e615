"""Each layout is built small, in its real naming, and must give the right rows; each mistake must be named."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgezsad.config import DataSet
from edgezsad.data.check import check_dataset
from edgezsad.data.layouts import LAYOUTS
from edgezsad.data.manifest import Manifest, index_dataset
from edgezsad.errors import CheckError, InputError
from edgezsad.predict import find_images

SIZE = (6, 9)
"""Height and width of every image made here; not square, so that a swap shows."""


class Maker:
    """Writes small images whose contents all differ, and masks."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.made = 0

    def images(self, *names: str) -> None:
        for name in names:
            self.made += 1
            pixels = np.full((*SIZE, 3), self.made % 256, np.uint8)
            pixels[0, 0] = self.made // 256
            self._save(pixels, name)

    def masks(self, *names: str, value: int = 255, size: tuple[int, int] = SIZE) -> None:
        for name in names:
            mask = np.zeros(size, np.uint8)
            mask[1:3, 1:3] = value
            self._save(mask, name)

    def text(self, name: str, text: str) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text)

    def _save(self, pixels: np.ndarray, name: str) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(self.root / name)


@pytest.fixture
def make(tmp_path: Path) -> Maker:
    return Maker(tmp_path / "set")


def read(make: Maker, layout: str = "mvtec", root: Path | None = None, **options) -> Manifest:
    categories = options.pop("categories", None)
    item = DataSet(name="x", layout=layout, root=Path("set"), categories=categories)
    return index_dataset(item, root or make.root, **options)


def rows(manifest: Manifest) -> list[tuple]:
    """(image, category, split, label, defect, mask) of each entry."""
    return [(e.id, e.category, e.split, e.label, e.defect, e.mask) for e in manifest.entries]


def rejected(make: Maker, *parts: str, layout: str = "mvtec", **options) -> str:
    """Indexing fails with one line that holds all `parts`."""
    with pytest.raises(InputError) as caught:
        read(make, layout, **options)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message
    return message


# The right rows, in each layout ---------------------------------------------------------------------------------------

BOTTLE = [
    (f"{category}/{split}/{defect}/{number}.png", category, split, int(bool(mask)), defect, mask)
    for category, split, defect, number, mask in [
        ("bottle", "test", "broken_large", "000", "bottle/ground_truth/broken_large/000_mask.png"),
        ("bottle", "test", "broken_large", "001", "bottle/ground_truth/broken_large/001_mask.png"),
        ("bottle", "test", "good", "000", ""),
        ("bottle", "train", "good", "170", ""),
        ("pill", "test", "faulty_imprint", "006", "pill/ground_truth/faulty_imprint/006_mask.png"),
    ]
]


def bottle(make: Maker) -> None:
    make.images(*(row[0] for row in BOTTLE))
    make.masks(*(row[5] for row in BOTTLE if row[5]))


@pytest.mark.parametrize("layout", ["mvtec", "mpdd", "dtd"])
def test_mvtec_and_its_relatives(make: Maker, layout: str) -> None:
    bottle(make)
    for stray in ("README.md", "LICENSE", "license.txt", "bottle/readme.txt", "bottle/test/good/Thumbs.db"):
        make.text(stray, "stray")
    make.text("bottle/test/good/._000.png", "what macOS leaves behind")
    make.text(".git/test/good/000.png", "hidden")
    make.images("docs/figure.png")
    assert rows(read(make, layout)) == BOTTLE


def test_mvtec_masks_of_other_names_or_none(make: Maker) -> None:
    make.images(*(f"cookie/test/broken/{stem}.JPG" for stem in ("a", "b", "c", "d")), "cookie/test/good/a.jpeg")
    make.masks("cookie/ground_truth/broken/a.png", "cookie/ground_truth/broken/b_mask.BMP")
    make.masks("cookie/ground_truth/broken/c.TIF", "cookie/ground_truth/broken/c_mask.png")
    make.masks("cookie/ground_truth/good/a_mask.png")
    masks = [entry.mask.removeprefix("cookie/ground_truth/broken/") for entry in read(make).entries]
    assert masks == ["a.png", "b_mask.BMP", "c_mask.png", "", ""]


def test_mvtec_single_category(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    bottle(make)
    (make.root / "bottle" / "ground_truth" / "broken_large" / "001_mask.png").unlink()
    inside = [
        (image.removeprefix("bottle/"), category, split, label, defect, mask.removeprefix("bottle/"))
        for image, category, split, label, defect, mask in BOTTLE[:4]
    ]
    inside[1] = (*inside[1][:5], "")
    assert rows(read(make, root=make.root / "bottle")) == inside
    monkeypatch.chdir(make.root / "bottle")
    assert rows(read(make, root=Path())) == inside, "the category's name does not come from '.'"


VISA = [
    ("candle/Data/Images/Anomaly/000.JPG", "candle", "test", 1, "anomaly", "candle/Data/Masks/Anomaly/000.png"),
    ("candle/Data/Images/Normal/0449.JPG", "candle", "train", 0, "good", ""),
    ("capsules/Data/Images/Normal/237.JPG", "capsules", "test", 0, "good", ""),
]


def visa(make: Maker, extra: str = "", mark: str = "") -> None:
    lines = [
        f"{category},{split},{'anomaly' if label else 'normal'},{image},{mask}"
        for image, category, split, label, _, mask in reversed(VISA)
    ]
    make.text("split_csv/1cls.csv", "\n".join([mark + "object,split,label,image,mask", *lines]) + "\n" + extra)


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_visa(make: Maker, mark: str) -> None:
    make.images(*(row[0] for row in VISA), "candle/Data/Images/Normal/9999.JPG")
    make.masks(VISA[0][5], value=3)
    visa(make, mark=mark)
    assert rows(read(make, "visa")) == VISA, "what the list leaves out is left out"


@pytest.mark.parametrize("top", ["", "BTech_Dataset_transformed/"])
def test_btad(make: Maker, top: str) -> None:
    expected = [
        (f"{top}01/test/ko/0000.bmp", "01", "test", 1, "ko", f"{top}01/ground_truth/ko/0000.png"),
        (f"{top}01/test/ok/0001.bmp", "01", "test", 0, "good", ""),
        (f"{top}02/test/ko/0010.png", "02", "test", 1, "ko", f"{top}02/ground_truth/ko/0010.bmp"),
        (f"{top}02/train/ok/0000.png", "02", "train", 0, "good", ""),
    ]
    make.images(*(row[0] for row in expected))
    make.masks(*(row[5] for row in expected if row[5]))
    assert rows(read(make, "btad")) == expected


@pytest.mark.parametrize("top", ["", "KolektorSDD2/"])
def test_ksdd2_goes_by_the_mask(make: Maker, top: str) -> None:
    make.images(f"{top}train/10000.png", f"{top}train/10001.png", f"{top}test/20000.png")
    make.masks(f"{top}train/10000_GT.png", f"{top}test/20000_GT.png", value=0)
    make.masks(f"{top}train/10001_GT.png", value=1)
    assert rows(read(make, "ksdd2")) == [
        (f"{top}test/20000.png", "KolektorSDD2", "test", 0, "good", ""),
        (f"{top}train/10000.png", "KolektorSDD2", "train", 0, "good", ""),
        (f"{top}train/10001.png", "KolektorSDD2", "train", 1, "defective", f"{top}train/10001_GT.png"),
    ]


def test_dagm(make: Maker) -> None:
    make.images("Class1/Train/0576.PNG", "Class1/Train/0577.PNG", "Class10/Test/0001.PNG", "Class10/Test/0002.PNG")
    make.masks("Class1/Train/Label/0576_label.PNG", "Class10/Test/Label/0002_label.PNG")
    make.text("Class1/Train/Label/Labels.txt", "1\n")
    assert rows(read(make, "dagm")) == [
        ("Class1/Train/0576.PNG", "Class1", "train", 1, "defective", "Class1/Train/Label/0576_label.PNG"),
        ("Class1/Train/0577.PNG", "Class1", "train", 0, "good", ""),
        ("Class10/Test/0001.PNG", "Class10", "test", 0, "good", ""),
        ("Class10/Test/0002.PNG", "Class10", "test", 1, "defective", "Class10/Test/Label/0002_label.PNG"),
    ]


@pytest.mark.parametrize(
    ("layout", "image", "masks"),
    [
        ("dagm", "Class1/Train/0576.PNG", ["Class1/Train/Label/0576_label.PNG", "Class1/Train/Label/9999_label.PNG"]),
        ("ksdd2", "train/10000.png", ["train/10000_GT.png", "train/10001_GT.png"]),
    ],
)
def test_masks_without_an_image(make: Maker, layout: str, image: str, masks: list[str]) -> None:
    make.images(image)
    make.masks(*masks)
    rejected(make, masks[1], "mask without a matching image", layout=layout)


def test_real_iad(make: Maker) -> None:
    good = ("OK/S0001/audiojack_0001_OK_C1.jpg", "OK/S0002/audiojack_0002_OK_C3.jpg")
    bad = "NG/QS/S0007/audiojack_0007_NG_QS_C2"
    items = [
        {"category": "audiojack", "anomaly_class": kind, "image_path": image, "mask_path": mask}
        for kind, image, mask in [("OK", good[0], None), ("OK", good[1], None), ("QS", f"{bad}.jpg", f"{bad}_mask.png")]
    ]
    content = {"meta": {"normal_class": "OK", "prefix": "audiojack/"}, "train": items[:1], "test": items[1:]}
    make.text("realiad_jsons/realiad_jsons/audiojack.json", json.dumps(content))
    top = "realiad_1024/audiojack/"
    make.images(*(top + name for name in (*good, f"{bad}.jpg")))
    make.masks(f"{top}{bad}_mask.png")
    assert rows(read(make, "real_iad")) == [
        (f"{top}{bad}.jpg", "audiojack", "test", 1, "QS", f"{top}{bad}_mask.png"),
        (top + good[0], "audiojack", "train", 0, "good", ""),
        (top + good[1], "audiojack", "test", 0, "good", ""),
    ]


@pytest.mark.parametrize("kind", ["OK", "normal"])
def test_normal_images_in_a_folder_of_another_name_do_not_become_defects(make: Maker, kind: str) -> None:
    make.images(f"bolt/test/{kind}/1.png", "bolt/test/good/1.png")
    rejected(make, f"bolt/test/{kind}", "a folder good")


def test_ksdd2_copies_in_the_published_archive(make: Maker) -> None:
    make.images("train/10301.png", "train/10301 (copy).png")
    make.masks("train/10301_GT.png", "train/10301_GT (copy).png")
    assert [entry.id for entry in read(make, "ksdd2").entries] == ["train/10301.png"]


def test_two_masks_of_one_image(make: Maker) -> None:
    bottle(make)
    make.masks("bottle/ground_truth/broken_large/000_mask.bmp")
    rejected(make, "broken_large/000_mask.png", "000_mask.bmp", "remove one")


@pytest.mark.parametrize("ending", ["webp", "HEIC", "gif"])
def test_images_of_other_kinds_are_not_left_out_silently(make: Maker, ending: str) -> None:
    bottle(make)
    make.text(f"bottle/test/good/009.{ending}", "x")
    rejected(make, f"009.{ending}", "PNG")


@pytest.mark.parametrize("name", ["test/good/more/1.png", "test/1.png", "holdout/good/1.png", "1.TIF"])
def test_images_where_the_layout_has_none(make: Maker, name: str) -> None:
    bottle(make)
    make.images(f"bottle/{name}")
    rejected(make, str(make.root / "bottle" / name), "is outside")


@pytest.mark.parametrize(
    "line", ["candle,test,anomaly,candle/a.JPG,candle/a.JPG", "candle,test,normal,candle/Data/Images/Normal/0449.JPG,"]
)
def test_a_file_listed_twice(make: Maker, line: str) -> None:
    visa(make, extra=f"{line}\n")
    rejected(make, line.split(",")[3], "used twice", layout="visa")


def test_categories(make: Maker) -> None:
    bottle(make)
    assert {entry.category for entry in read(make, categories=("pill",)).entries} == {"pill"}
    rejected(make, str(make.root), "botle", "bottle, pill", categories=("pill", "botle"))


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_missing_empty_and_wrong_folders(make: Maker, layout: str) -> None:
    expected = f"expected {layout} layout: {LAYOUTS[layout].expected}"
    rejected(make, str(make.root), "no such folder", expected, layout=layout)
    make.text("README.md", "only this")
    rejected(make, str(make.root), expected, layout=layout)
    rejected(make, "not a folder", expected, layout=layout, root=make.root / "README.md")


@pytest.mark.parametrize(
    "line",
    [
        "candle,val,normal,candle/a.JPG,",
        "candle,test",
        "candle,test,anomaly,candle/a.JPG,",
    ],
)
def test_visa_damaged_row(make: Maker, line: str) -> None:
    visa(make, extra=line + "\n")
    rejected(make, "1cls.csv", "unpack", layout="visa")


def test_mvtec_loco(make: Maker) -> None:
    """Validation images are normal, and an image has a folder of masks."""
    part = "splicing_connectors"
    make.images(*(f"{part}/{name}/000.png" for name in ("train/good", "validation/good", "test/good")))
    make.images(f"{part}/test/logical_anomalies/000.png", f"{part}/test/structural_anomalies/000.png")
    make.masks(f"{part}/ground_truth/logical_anomalies/000/000.png", value=1)
    make.masks(*(f"{part}/ground_truth/structural_anomalies/000/00{number}.png" for number in (0, 1)))
    make.text(f"{part}/defects_config.json", "[]")
    logical, structural = (f"{part}/ground_truth/{kind}/000" for kind in ("logical_anomalies", "structural_anomalies"))
    manifest = read(make)
    assert rows(manifest) == [
        (f"{part}/test/good/000.png", part, "test", 0, "good", ""),
        (f"{part}/test/logical_anomalies/000.png", part, "test", 1, "logical_anomalies", logical),
        (f"{part}/test/structural_anomalies/000.png", part, "test", 1, "structural_anomalies", structural),
        (f"{part}/train/good/000.png", part, "train", 0, "good", ""),
        (f"{part}/validation/good/000.png", part, "train", 0, "good", ""),
    ]
    assert check_dataset("any", make.root).notes == []
    assert manifest.mask_path(manifest.entries[2]) == make.root / structural
    make.masks(f"{part}/ground_truth/structural_anomalies/000/002.png")
    with pytest.raises(CheckError, match="changed after it was indexed"):
        manifest.mask_path(manifest.entries[2])


def test_mvtec_ad_2(make: Maker) -> None:
    """Images of the private test sets have no labels and are left out."""
    make.images(*(f"can/{name}/000_regular.png" for name in ("train/good", "validation/good", "test_public/good")))
    make.images("can/test_public/bad/000_regular.png")
    make.images("can/test_private/000_regular.png", "can/test_private_mixed/000_mixed.png")
    mask = "can/test_public/ground_truth/bad/000_regular_mask.png"
    make.masks(mask)
    assert rows(read(make)) == [
        ("can/test_public/bad/000_regular.png", "can", "test", 1, "bad", mask),
        ("can/test_public/good/000_regular.png", "can", "test", 0, "good", ""),
        ("can/train/good/000_regular.png", "can", "train", 0, "good", ""),
        ("can/validation/good/000_regular.png", "can", "train", 0, "good", ""),
    ]
    assert rows(read(make, root=make.root / "can"))[0][5] == mask.removeprefix("can/")
    (note,) = check_dataset("any", make.root).notes
    assert "does not read: 2" in note
    assert find_images([make.root / "can" / "test_public"])[1] == 1


@pytest.mark.parametrize("ending", [".jpe", ".jfif", ".mpo", ".apng"])
def test_endings_of_formats_that_are_read(make: Maker, ending: str) -> None:
    make.images("part/test/good/0.png", "part/test/good/1.png")
    (make.root / "part/test/good/1.png").rename(make.root / f"part/test/good/1{ending}")
    assert [entry.id for entry in read(make).entries] == ["part/test/good/0.png", f"part/test/good/1{ending}"]
    assert [path.suffix for path in find_images([make.root])[0]] == [".png", ending]


@pytest.mark.parametrize("ending", [".jxl", ".j2k", ".dib", ".exr", ".npy", ".mp4", ".NEF"])
def test_endings_of_other_formats_are_reported(make: Maker, ending: str) -> None:
    make.images("part/test/good/0.png")
    make.text(f"part/test/good/1{ending}", "content")
    rejected(make, f"1{ending}", "unsupported image format")
    assert len(find_images([make.root])[0]) == 2
