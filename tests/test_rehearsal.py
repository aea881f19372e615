"""A rehearsal: few images of each set, a run folder of its own, and no claim from its numbers."""

from pathlib import Path

import pytest

from edgezsad.claims.evaluation import CLAIMS, check_claims
from edgezsad.config import Profile, load_profile, save_profile
from edgezsad.data.layouts import ImageItem
from edgezsad.data.manifest import few_of_each, index_dataset
from edgezsad.errors import InputError
from edgezsad.run import Run, open_run, rehearsal_notice, rehearse
from edgezsad.source.derive import prepare_data
from synthetic import SetSpec, generate_set

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def paper(tmp_path: Path) -> Profile:
    return load_profile(ROOT / "configs" / "paper.yaml", tmp_path)


def test_the_paper_profile_becomes_small_and_says_so(paper: Profile, tmp_path: Path) -> None:
    small = rehearse(paper, 3)
    assert small.run == Path("runs/paper-rehearsal") and small.title.endswith("(rehearsal)")
    assert (small.training.steps, small.training.batch) == (3, 6)
    assert (small.model.backbone, small.model.weights) == (paper.model.backbone, "random")
    assert small.data.source[0].derive.images == 12
    assert "qnn-htp-fp16" not in small.evaluation.runtimes
    assert "mean nothing" in rehearsal_notice(small) and rehearsal_notice(paper) == ""
    # What notebooks read is the saved file: it must still be a valid profile, and say that it is a rehearsal.
    assert load_profile(save_profile(small, tmp_path / "config.yaml")) == small


def test_notebooks_print_the_notice(paper: Profile, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_run(save_profile(rehearse(paper, 1), tmp_path / "config.yaml").absolute())
    assert capsys.readouterr().out.startswith("REHEARSAL: at most 1 images")


def test_few_images_of_the_same_categories() -> None:
    found = [
        ImageItem(f"{category}/{label}/{number}.png", category, "test", label, "cut" if label else "good")
        for category in ("a", "b", "c")
        for label in (0, 1)
        for number in range(5)
    ]
    chosen = few_of_each(Path("nowhere"), 2, found)
    assert sorted(one.image for one in chosen) == ["a/0/0.png", "a/1/0.png", "b/0/0.png", "b/1/0.png"]


def test_labels_come_from_masks_where_the_layout_has_no_others(paper: Profile, tmp_path: Path) -> None:
    spec = SetSpec("KolektorSDD2", "ksdd2", ("tiles",), 3, 3, 3, (64, 64))
    generate_set(spec, tmp_path / "KolektorSDD2", 0, 1)
    item = next(item for item in paper.data.targets if item.layout == "ksdd2")
    root = tmp_path / "KolektorSDD2"
    manifest = index_dataset(item, root, choose=lambda items: few_of_each(root, 2, items))
    assert [sum(e.label == label for e in manifest.select("test").entries) for label in (0, 1)] == [2, 2]


def test_only_a_rehearsal_accepts_generated_images(paper: Profile, tmp_path: Path) -> None:
    for item in (*paper.data.source, *paper.data.targets):
        (tmp_path / item.root).mkdir()
    generate_set(SetSpec("BTAD", "btad", ("tiles",), 1, 1, 1, (64, 64)), tmp_path / "BTAD", 0, 1)
    with pytest.raises(InputError, match="BTAD: generated images, not BTAD; give the real set, or rehearse with LIMIT"):
        prepare_data(Run(paper.model_copy(update={"run": tmp_path / "run"})), 1)
    with pytest.raises(InputError, match="Real-IAD: no images found"):
        prepare_data(Run(rehearse(paper, 1).model_copy(update={"run": tmp_path / "run"})), 1)


def test_claims_are_not_run(paper: Profile) -> None:
    measured = [one for one in CLAIMS.values() if one.page != "07_efficiency" and one.group != "published"]
    verdicts = check_claims(Run(rehearse(paper, 1)), measured)
    assert {verdict.status for verdict in verdicts} == {"not run"}
    assert all("rehearsal" in verdict.reason for verdict in verdicts)
