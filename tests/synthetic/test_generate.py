"""Generated data sets: the same bytes always, the benchmarks' structures, masks that mark the change."""

import csv
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from edgezsad.config import Data, DataSet
from edgezsad.data.layouts import index
from edgezsad.data.manifest import Manifest
from edgezsad.errors import InputError
from edgezsad.show.charts import contact_sheet
from synthetic import FAMILIES, SetSpec, families, generate_set
from synthetic import sets as sets_module
from synthetic.defects import COMPONENT_KINDS, KINDS, with_defect
from synthetic.image import Address, _scene, defective_image, mask_of, normal_image, normal_twin
from synthetic.photograph import expose

CONFIGS = Path(__file__).parents[2] / "configs"


def data_set(layout: str = "mvtec", names: tuple[str, ...] = ("tiles", "dial"), **other) -> SetSpec:
    spec = {"train_normal": 2, "test_normal": 2, "test_defective": 3, "size": (72, 96), **other}
    return SetSpec("tiny", layout, names, **spec)


def indexed(spec: SetSpec, root: Path) -> Manifest:
    return index(DataSet(name=spec.name, layout=spec.layout, root=root), root)


def contents(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def mini_data() -> Data:
    return Data.model_validate(yaml.safe_load((CONFIGS / "mini.yaml").read_text(encoding="utf-8"))["data"])


def test_same_bytes_whatever_the_workers(tmp_path):
    item, seen = data_set(randomise=True), []
    one = generate_set(item, tmp_path / "one", 3, 1, lambda done, total: seen.append((done, total)))
    two = generate_set(item, tmp_path / "two", 3, 2)
    other = generate_set(item, tmp_path / "other", 4, 1)
    assert seen == [(k, 14) for k in range(1, 15)]
    assert contents(one) == contents(two)
    assert contents(one).keys() >= {"tiles/train/good/000.png", "dial/test/good/001.png"}
    assert contents(one)["tiles/train/good/000.png"] != contents(other)["tiles/train/good/000.png"]


def test_an_image_does_not_depend_on_how_many_there_are(tmp_path):
    few = contents(generate_set(data_set(names=("tiles",)), tmp_path / "few", 0, 1))
    many = contents(generate_set(data_set(test_normal=4, test_defective=5), tmp_path / "many", 0, 1))
    shared = [name for name in few if name.startswith("tiles")]
    assert len(shared) == 10
    assert all(few[name] == many[name] for name in shared)


@pytest.mark.parametrize("layout", ["mvtec", "mpdd", "dtd", "visa", "btad", "ksdd2"])
def test_layouts_are_read_back(tmp_path, layout):
    names = ("ground_metal",) if layout == "ksdd2" else ("tiles", "dial")
    item = data_set(layout, names)
    root = generate_set(item, tmp_path / "set", 0, 1)
    entries = indexed(item, root).entries
    assert len(entries) == 7 * len(names)
    for entry in entries:
        assert (entry.width, entry.height) == (96, 72)
        assert not (entry.split == "train" and entry.label)
        if entry.label:
            with Image.open(root / entry.mask) as stored:
                mask = np.asarray(stored)
            assert mask.shape == (72, 96)
            assert mask.any() and not mask.all()
    assert sum(entry.label for entry in entries) == 3 * len(names)


def test_visa_has_upper_case_endings_and_small_mask_values(tmp_path):
    root = generate_set(data_set("visa"), tmp_path / "set", 0, 1)
    with open(root / "split_csv/1cls.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 14 and all(row["image"].endswith(".JPG") for row in rows)
    assert {row["label"] for row in rows} == {"normal", "anomaly"}
    assert all((root / row["image"]).is_file() for row in rows)
    masks = [np.asarray(Image.open(root / row["mask"])) for row in rows if row["mask"]]
    assert len(masks) == 6 and all(0 < mask.max() < 30 for mask in masks)


def test_btad_numbers_categories_and_mixes_endings(tmp_path):
    root = generate_set(data_set("btad"), tmp_path / "set", 0, 1) / "BTech_Dataset_transformed"
    assert (root / "01/test/ko/0000.bmp").is_file() and (root / "01/ground_truth/ko/0000.png").is_file()
    assert (root / "02/train/ok/0000.png").is_file()


def test_ksdd2_has_a_mask_for_every_image(tmp_path):
    root = generate_set(data_set("ksdd2", ("ground_metal",)), tmp_path / "set", 0, 1)
    images = [p for p in root.rglob("*.png") if not p.stem.endswith("_GT")]
    masks = [np.asarray(Image.open(p.with_name(f"{p.stem}_GT.png"))).any() for p in images]
    assert len(images) == 7 and sum(masks) == 3


@pytest.mark.parametrize("name", families())
def test_masks_mark_the_change(name):
    for index_, wild in ((0, True), (1, False)):
        address = Address(0, "test", name, "test", index_, (160, 128), wild)
        image, mask = defective_image(address)
        change = np.abs(image.astype(int) - normal_twin(address)).max(axis=2)
        assert image.shape == (160, 128, 3) and image.dtype == np.uint8
        assert mask.shape == (160, 128) and mask.any() and mask.mean() < 0.35
        assert change[mask].mean() > 3 * change[~mask].mean()


@pytest.mark.parametrize("kind", [*KINDS, *COMPONENT_KINDS])
def test_every_kind_changes_the_part_only(kind):
    scene, how = _scene(Address(1, "test", "dial", "test", 0, (160, 160), False), "defective")
    whole = scene.assembled()
    before = {name: getattr(whole, name).copy() for name in ("albedo", "height", "region")}
    normal, gain = expose(whole, how)
    changed = with_defect(kind, scene, np.random.default_rng(0), 1.0)
    image, _ = expose(changed, how, gain)
    mask = mask_of(np.abs(image - normal).max(axis=2), how)
    assert mask.any()
    # Blur and soft shadow reach a little over the edge.
    assert (whole.region[mask] > 0.5).mean() > 0.7
    assert all((getattr(scene.assembled(), key) == value).all() for key, value in before.items())


def test_normal_images_differ_and_are_photographs():
    for name in ("wood", "gear", "woven_cloth", "brick"):
        first, second = (normal_image(Address(0, "t", name, "test", k, (96, 96), False)) for k in (0, 1))
        assert np.abs(first.astype(int) - second).mean() > 2
        assert 25 < first.mean() < 230 and first.std() > 2


def test_every_kind_of_defect_exists_and_is_used():
    used = {kind for family in FAMILIES.values() for kind in family.defects}
    assert used == {*KINDS, *COMPONENT_KINDS}


def test_mini_keeps_source_and_targets_apart():
    data = mini_data()
    source = {name for item in data.source for name in item.generated.families}
    targets = [name for item in data.targets for name in item.generated.families]
    assert len(source) >= 12 and len(targets) == len(set(targets))
    assert not source & set(targets)
    assert (source | set(targets)) <= set(families())
    assert [item.stands_for for item in data.targets] == [
        "MVTec-AD", "VisA", "BTAD", "MPDD", "KolektorSDD2", "DTD-Synthetic",
    ]  # fmt: skip


def test_an_interrupted_run_leaves_the_earlier_set(tmp_path):
    root = generate_set(data_set(), tmp_path / "set", 0, 1)
    before = contents(root)

    def interrupt(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate_set(data_set(), root, 1, 1, interrupt)
    assert contents(root) == before
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_a_failed_swap_puts_the_earlier_set_back(tmp_path, monkeypatch):
    root = generate_set(data_set(names=("tiles",)), tmp_path / "set", 0, 1)
    before, real, calls = contents(root), Path.replace, []
    (tmp_path / "new").mkdir()

    def fail_second(source, target):
        calls.append(target)
        if len(calls) == 2:
            raise OSError("no")
        return real(source, target)

    monkeypatch.setattr(Path, "replace", fail_second)
    with pytest.raises(OSError):
        sets_module._swap(tmp_path / "new", root)
    assert contents(root) == before


def test_a_new_set_replaces_the_earlier_one(tmp_path):
    root = generate_set(data_set(test_normal=5), tmp_path / "set", 0, 1)
    generate_set(data_set(), root, 0, 1)
    assert not (root / "tiles/test/good/004.png").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_wrong_input_is_one_line(tmp_path):
    with pytest.raises(InputError, match="did you mean tiles"):
        generate_set(data_set(names=("tile",)), tmp_path / "set", 0, 1)
    with pytest.raises(InputError, match="real_iad is not generated"):
        generate_set(data_set("real_iad"), tmp_path / "set", 0, 1)
    with pytest.raises(InputError, match="workers is 0"):
        generate_set(data_set(), tmp_path / "set", 0, 0)
    with pytest.raises(InputError, match="listed twice"):
        generate_set(data_set(names=("tiles", "tiles")), tmp_path / "set", 0, 1)
    own = tmp_path / "photographs"
    own.mkdir()
    (own / "mine.jpg").write_bytes(b"precious")
    with pytest.raises(InputError, match="is left alone"):
        generate_set(data_set(), own, 0, 1)
    assert (own / "mine.jpg").read_bytes() == b"precious"
    assert [p.name for p in tmp_path.iterdir()] == ["photographs"]


def test_contact_sheet_shows_both_halves(tmp_path):
    item = data_set()
    figure = contact_sheet(indexed(item, generate_set(item, tmp_path / "set", 0, 1)), columns=4)
    assert len(figure.axes) == 8
    titles = {axis.get_title(loc="left") for axis in figure.axes}
    assert "good" in titles and titles & {*KINDS, *COMPONENT_KINDS}
    file = tmp_path / "sheet.png"
    figure.savefig(file, dpi=100)
    assert file.stat().st_size < 500_000
