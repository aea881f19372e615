"""A manifest that lacks images of a public set says so, wherever it is shown."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from edgezsad.cli import app
from edgezsad.config import DataSet, Profile
from edgezsad.data.descriptors import find_descriptor, read_list
from edgezsad.data.manifest import Entry, Manifest
from edgezsad.data.published import as_published, differences
from edgezsad.run import Run
from edgezsad.source.prepare import set_table
from synthetic import SetSpec, generate_set

MPDD = find_descriptor("MPDD")
ITEM = MPDD.data_set(Path("MPDD"))


@pytest.fixture(scope="module")
def whole() -> Manifest:
    """All of MPDD by its public list; what lies in the files does not matter here."""
    return Manifest(
        "MPDD",
        Path("MPDD"),
        tuple(
            Entry(one.image, one.category, one.split, one.label, one.defect, one.mask, 8, 8, "a" * 64, "b" * 64)
            for one in read_list(MPDD)
        ),
    )


def changed(manifest: Manifest, change: Callable[[list[Entry]], Any]) -> Manifest:
    entries = list(manifest.entries)
    change(entries)
    return replace(manifest, entries=tuple(entries))


def test_a_whole_set(whole: Manifest):
    assert differences(MPDD, whole) == []
    assert as_published(ITEM, whole) == "yes"


def test_one_image_less_or_one_mask(whole: Manifest):
    less = changed(whole, lambda entries: entries.pop())
    assert differences(MPDD, less)[0] == "images 1,345 of 1,346"
    assert as_published(ITEM, less) == "no: images 1,345 of 1,346"
    place = next(place for place, entry in enumerate(whole.entries) if entry.mask)
    blind = changed(whole, lambda entries: entries.__setitem__(place, replace(entries[place], mask="")))
    assert differences(MPDD, blind) == ["with mask 281 of 282"]


def test_numbers_that_agree_only_in_all(whole: Manifest):
    """An image in another category's folder: the set's own numbers are right, two categories' are not."""
    wanted = ("tubes", "test", 0)
    place = next(n for n, one in enumerate(whole.entries) if (one.category, one.split, one.label) == wanted)
    moved = changed(whole, lambda entries: entries.__setitem__(place, replace(entries[place], category="connector")))
    assert differences(MPDD, moved) == [
        "connector: images 173 of 172",
        "connector: test normal 31 of 30",
        "tubes: images 222 of 223",
        "tubes: test normal 31 of 32",
    ]


def test_nothing_is_said_of_sets_of_which_nothing_is_known(whole: Manifest):
    for item in (
        DataSet(name="bolts", layout="mvtec", root=Path("x")),
        DataSet(name="MPDD", layout="mvtec", root=Path("x")),
        DataSet(name="MPDD", layout="mpdd", root=Path("x"), categories=("tubes",)),
    ):
        assert as_published(item, whole) is None
    dtd = find_descriptor("DTD-Synthetic")
    assert as_published(dtd.data_set(Path("x")), Manifest("DTD-Synthetic", Path("x"), ())).startswith("no: ")


def test_the_page_says_so_but_not_in_a_rehearsal(whole: Manifest, make_profile: Callable[..., Profile]):
    data = {
        "root": "somewhere",
        "source": [{"name": "source", "layout": "mvtec", "root": "source"}],
        "targets": [{"name": "MPDD", "layout": "mpdd", "root": "MPDD"}],
    }
    manifests = {"source": replace(whole, name="source"), "MPDD": changed(whole, lambda entries: entries.pop())}
    for rehearsal, said in ((None, "no: images 1,345 of 1,346"), (2, None)):
        run = Run(make_profile(data=data).model_copy(update={"rehearsal": rehearsal}))
        column = set_table(run, manifests, {}).set_index("set")["same as published"]
        assert pd.isna(column["source"])
        assert pd.isna(column["MPDD"]) if said is None else column["MPDD"] == said


def test_the_command_says_so(tmp_path: Path):
    generate_set(SetSpec("MPDD", "mpdd", ("tiles", "dial"), 2, 2, 2, (32, 32)), tmp_path / "MPDD", 0, 1)
    out = str(tmp_path / "m.csv")
    done = CliRunner().invoke(app, ["data", "index", "mpdd", str(tmp_path / "MPDD"), "--out", out])
    assert done.exit_code == 0
    assert "not as published: images 12 of 1,346, train normal 4 of 888, test normal 4 of 176 and 2 more" in done.stdout
    done = CliRunner().invoke(app, ["data", "index", "any", str(tmp_path / "MPDD"), "--out", out])
    assert "not as published" not in done.stdout
