"""Profiles: every shipped one loads; whatever is wrong with one is said in one line that names file, key and remedy."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgezsad.config import Profile, load_profile, save_profile
from edgezsad.errors import InputError
from edgezsad.run import Run, rehearse

CONFIGS = Path(__file__).parents[1] / "configs"
SHIPPED = sorted(path for path in CONFIGS.glob("*.yaml") if ".draft" not in path.name)
GENERATED = {"families": ["felt"], "test_normal": 2, "test_defective": 2}
Reject = Callable[[Any], str]
Values = Callable[..., dict[str, Any]]


@pytest.fixture
def reject(tmp_path: Path) -> Callable[[Any], str]:
    """Write a profile, expect that it is rejected in one line naming the file, and return that line."""

    def check(values: Any) -> str:
        path = tmp_path / "mine.yaml"
        path.write_text(values if isinstance(values, str) else yaml.safe_dump(values), encoding="utf-8")
        with pytest.raises(InputError) as caught:
            load_profile(path)
        line = str(caught.value)
        assert "\n" not in line
        assert line.startswith(f"{path}: ")
        assert caught.value.exit_code == 2
        return line.removeprefix(f"{path}: ")

    return check


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_profile_loads(path: Path, tmp_path: Path) -> None:
    profile = load_profile(path)
    # What the run writes down reads back as the same profile.
    assert load_profile(save_profile(profile, tmp_path / "config.yaml")) == profile


def test_a_profile_is_read(tmp_path: Path, profile_values: Values) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(profile_values(training={"steps": 7})), encoding="utf-8")
    profile = load_profile(path)
    assert (profile.training.steps, profile.seeds, profile.model.strides) == (7, (0, 1), (8, 16))
    assert profile.data.folder(profile.data.targets[1]) == Path("somewhere/nuts")
    other = load_profile(path, data_root=tmp_path / "elsewhere")
    assert other.data.folder(other.data.targets[1]) == tmp_path / "elsewhere" / "nuts"


@pytest.mark.parametrize(
    ("where", "wrong", "right"),
    [
        ((), "seed", "seeds"),
        (("data", "source", 0), "categorys", "categories"),
        (("data", "targets", 1, "generated"), "randomize", "randomise"),
        (("model", "readout"), "local_chanels", "local_channels"),
        (("evaluation", "emulator"), "image_per_target", "images_per_target"),
    ],
)
def test_misspelt_key(
    reject: Reject, profile_values: Values, where: tuple[str | int, ...], wrong: str, right: str
) -> None:
    values = profile_values(evaluation={"emulator": {}}, training={})
    values["data"]["targets"][1]["generated"] = dict(GENERATED)
    values["model"]["readout"] = {}
    part: Any = values
    for key in where:
        part = part[key]
    part[wrong] = 1
    dotted = ".".join(str(key) for key in (*where, wrong))
    assert reject(values) == f"unknown key {dotted} (did you mean {right}?)"


@pytest.mark.parametrize(
    ("where", "value", "shown"),
    [
        (("profile",), "maxi", "'maxi'"),
        (("seeds",), [], "got []"),
        (("seeds",), [1, 1], "a seed is listed twice"),
        (("seeds",), [3, 4], "evaluation.emulator.seed 0 is not one of seeds"),
        (("data", "source", 0, "layout"), "mvtek", "'mvtek'"),
        (("data", "source", 0, "name"), "../outside", "'../outside'"),
        (("data", "source"), {"name": "a"}, "{'name': 'a'}"),
        (("data", "source", 0, "categories"), [1, 2], "got 1 (put it in quotation marks)"),
        (("model", "size"), 0, "got 0"),
        (("model", "size"), "large", "'large'"),
        (("model", "strides"), [8, 12], "12"),
        (("training", "learning_rate"), -1, "-1"),
        (("training", "validation"), 1.0, "1.0"),
        (("training",), None, "None"),
    ],
)
def test_wrong_value(
    reject: Reject, profile_values: Values, where: tuple[str | int, ...], value: Any, shown: str
) -> None:
    values = profile_values(training={})
    part: Any = values
    for key in where[:-1]:
        part = part[key]
    part[where[-1]] = value
    line = reject(values)
    assert shown in line
    # A rule over the whole profile has no one key; the text names it.
    assert ".".join(str(key) for key in where) in line


def test_missing_key_and_several_faults(reject: Reject, profile_values: Values) -> None:
    values = profile_values()
    del values["model"]["backbone"]
    values["model"]["backbon"] = "x"
    line = reject(values)
    assert "model.backbone is missing" in line
    assert "unknown key model.backbon (did you mean backbone?)" in line


def test_generated_sets_may_lie_apart(tmp_path: Path, profile_values: Values) -> None:
    values = profile_values()
    made = {"name": "made", "layout": "mvtec", "root": "made", "generated": GENERATED}
    values["data"]["source"].append(made)
    profile = Profile.model_validate(values)
    folders = [profile.data.folder(item).as_posix() for item in profile.data.source]
    assert folders == ["somewhere/source", "somewhere/made"]
    values["data"] |= {"root": None, "generated_root": "runs/x"}
    profile = Profile.model_validate(values)
    assert profile.data.folder(profile.data.source[1]) == Path("runs/x/made")
    with pytest.raises(InputError, match=r"data.root is not set"):
        profile.data.folder(profile.data.source[0])


def test_shares_are_for_all_sources_or_for_none(reject: Reject, profile_values: Values) -> None:
    values = profile_values()
    values["data"]["source"].append(copy.deepcopy(values["data"]["source"][0]) | {"name": "another"})
    values["data"]["source"][0]["share"] = 2
    assert "share is given for some sources only; give it for all of them or for none" in reject(values)
    values = profile_values()
    values["data"]["targets"][0]["share"] = 2
    assert "share is for the source only" in reject(values)


@pytest.mark.parametrize("side", ["source", "targets"])
def test_data_set_named_twice(reject: Reject, profile_values: Values, side: str) -> None:
    values = profile_values()
    values["data"][side].append(copy.deepcopy(values["data"]["targets"][0]))
    assert "data set named twice: bolts" in reject(values)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml: no such configuration; see configs/") as caught:
        load_profile(tmp_path / "none.yaml")
    assert caught.value.exit_code == 2
    with pytest.raises(InputError, match="no such configuration"):
        load_profile(tmp_path)


def test_equal_file_is_left_untouched(tmp_path: Path, make_profile: Callable[..., Profile]) -> None:
    path = save_profile(make_profile(), tmp_path / "config.yaml")
    before = path.stat()
    save_profile(make_profile(), path)
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    save_profile(make_profile(title="another"), path)
    assert load_profile(path).title == "another"


SHIPPED = {"readout": {"kind": "self_reference", "correction_gain": 0.4}, "training": {"steps": 150, "batch": 32}}


def test_the_shipped_detector_has_its_own_results_and_the_data_of_the_run(make_profile: Callable[..., Profile]) -> None:
    model = {"backbone": "tf_efficientnet_lite0", "size": 64, "strides": [8, 16, 32]}
    run = Run(make_profile(model=model, shipped=SHIPPED))
    other = run.shipped()
    assert other.profile.model.readout.kind == "self_reference" and other.profile.training.steps == 150
    assert other.profile.model.backbone == run.profile.model.backbone and other.shipped() is None
    assert other.features == run.features and other.manifest_path("nuts") == run.manifest_path("nuts")
    assert other.checkpoint(0) != run.checkpoint(0)
    assert other.scores("pytorch", 0, "nuts") != run.scores("pytorch", 0, "nuts")
    assert Run(make_profile()).shipped() is None
    assert rehearse(run.profile, 1).shipped.training.steps == 1


def test_the_shipped_detector_needs_cached_features(reject: Reject, profile_values: Values) -> None:
    values = profile_values(shipped=SHIPPED, training={"tuned_stages": 1})
    assert "shipped needs cached features" in reject(values)


def test_a_target_in_the_folder_of_the_source(reject: Reject, profile_values: Values) -> None:
    values = profile_values()
    source, target = values["data"]["source"][0], values["data"]["targets"][0]
    for item in (source, target):
        item.pop("generated", None)
    target["root"] = f"x/../{source['root']}"
    assert "are the same folder; a target must be unseen" in reject(values)
    source["categories"], target["categories"] = ["01", "02"], ["03"]
    Profile.model_validate(values)
    target["categories"].append("02")
    assert "are the same folder" in reject(values)


@pytest.mark.parametrize("text", ["model:\n  size: 256\n  size: 512\n", "model:\n  {size: 1,\n  size: 2}"])
def test_a_key_given_twice(reject: Reject, text: str) -> None:
    assert "line 3: the key size is given twice" in reject(text)
