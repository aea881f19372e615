"""Generated sets: the same bytes for the same seed, the layouts of the benchmarks, no loss on interruption."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from edgezsad.config import DataSet, load_profile
from edgezsad.data.manifest import Manifest, index_dataset
from edgezsad.errors import InputError
from synthetic import SetSpec, families, generate_set, sets
from synthetic.__main__ import main

CONFIGS = Path(__file__).parents[2] / "configs"


def small(layout: str = "mvtec", names: tuple[str, ...] = ("tiles", "dial"), **other) -> SetSpec:
    counts = {"train_normal": 2, "test_normal": 2, "test_defective": 3}
    return SetSpec("tiny", layout, names, **{**counts, "size": (72, 96), **other})


def contents(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def indexed(item: SetSpec, root: Path) -> Manifest:
    return index_dataset(DataSet(name=item.name, layout=item.layout, root=root), root)


@pytest.mark.slow
def test_same_bytes_for_any_number_of_workers(tmp_path):
    item = small(randomise=True)
    one = generate_set(item, tmp_path / "one", 3, 1)
    two = generate_set(item, tmp_path / "two", 3, 2)
    other = generate_set(item, tmp_path / "other", 4, 1)
    assert contents(one) == contents(two)
    assert contents(one).keys() >= {"tiles/train/good/000.png", "dial/test/good/001.png"}
    assert contents(one)["tiles/train/good/000.png"] != contents(other)["tiles/train/good/000.png"]


def test_an_image_does_not_depend_on_the_number_of_images(tmp_path):
    few = contents(generate_set(small(names=("tiles",)), tmp_path / "few", 0, 1))
    many = contents(generate_set(small(test_normal=4, test_defective=5), tmp_path / "many", 0, 1))
    shared = [name for name in few if name.startswith("tiles")]
    assert len(shared) == 10
    assert all(few[name] == many[name] for name in shared)


@pytest.mark.parametrize("layout", sets.LAYOUTS)
def test_layouts_are_read_back(tmp_path, layout):
    item = small(layout)
    root = generate_set(item, tmp_path / "set", 0, 1)
    entries = indexed(item, root).entries
    assert len(entries) == 14 and sum(entry.label for entry in entries) == 6
    assert len({entry.category for entry in entries}) == (1 if layout == "ksdd2" else 2)
    for entry in entries:
        assert (entry.width, entry.height) == (96, 72)
        assert not (entry.split == "train" and entry.label)
        if entry.label:
            mask = np.asarray(Image.open(root / entry.mask))
            assert mask.shape == (72, 96)
            assert mask.any() and not mask.all()


@pytest.mark.slow
def test_rehearsal_sets_cover_every_set_of_the_paper_profile(tmp_path):
    main([str(CONFIGS / "paper.yaml"), str(tmp_path), "--images", "1", "--size", "48"])
    data = load_profile(CONFIGS / "paper.yaml", tmp_path).data
    used = []
    for item in (*data.source, *data.targets):
        assert {entry.label for entry in index_dataset(item, data.folder(item)).entries} == {0, 1}
        used.append(set(yaml.safe_load((data.folder(item) / "generated.json").read_text())["families"]))
    assert not any(one & two for one, two in itertools.combinations(used, 2))


def test_mini_keeps_source_and_targets_apart():
    data = load_profile(CONFIGS / "mini.yaml").data
    source = {name for item in data.source for name in item.generated.families}
    targets = [name for item in data.targets for name in item.generated.families]
    assert len(source) >= 12 and len(targets) == len(set(targets))
    assert not source & set(targets)
    assert (source | set(targets)) <= set(families())


def test_an_interrupted_run_leaves_the_earlier_set(tmp_path, monkeypatch):
    root = generate_set(small(), tmp_path / "set", 0, 1)
    before = contents(root)

    def interrupt(images: Iterator[None], *names: object) -> Iterator[None]:
        yield from itertools.islice(images, 3)
        raise KeyboardInterrupt

    monkeypatch.setattr(sets, "progress", interrupt)
    with pytest.raises(KeyboardInterrupt):
        generate_set(small(), root, 1, 1)
    assert contents(root) == before
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_a_new_set_replaces_the_earlier_one(tmp_path):
    root = generate_set(small(test_normal=5), tmp_path / "set", 0, 1)
    generate_set(small(), root, 0, 1)
    assert not (root / "tiles/test/good/004.png").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_invalid_input(tmp_path):
    for item, workers, message in (
        (small(names=("tile",)), 1, "did you mean tiles"),
        (small("coco"), 1, "unknown layout coco"),
        (small(), 0, "workers is 0"),
        (small(names=("tiles", "tiles")), 1, "listed twice"),
    ):
        with pytest.raises(InputError, match=message):
            generate_set(item, tmp_path / "set", 0, workers)
    own = tmp_path / "photographs"
    own.mkdir()
    (own / "mine.jpg").write_bytes(b"precious")
    with pytest.raises(InputError, match="not a generated data set"):
        generate_set(small(), own, 0, 1)
    assert contents(own) == {"mine.jpg": b"precious"}
    assert [p.name for p in tmp_path.iterdir()] == ["photographs"]
