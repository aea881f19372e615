"""The proof of no leak finds a planted duplicate, names it, and does not pass on nothing."""

import hashlib
from pathlib import Path

import pytest

from edgezsad.data.leak import Disjoint, check_disjoint, overlaps
from edgezsad.data.manifest import Entry, Manifest
from edgezsad.errors import CheckError, InputError


def manifest(name: str, **contents: str) -> Manifest:
    """A data set whose images have these names and contents."""
    entries = (
        Entry(f"{image}.png", "bolt", "test", 0, "good", "", 4, 4, hashlib.sha256(content.encode()).hexdigest(), "")
        for image, content in contents.items()
    )
    return Manifest(name, Path(name), tuple(entries))


def test_disjoint_sets_pass_with_their_counts() -> None:
    sources = [manifest("s1", a="1", b="2"), manifest("s2", a="3")]
    targets = [manifest("t", a="4", b="5")]
    assert overlaps(sources, targets) == []
    assert check_disjoint(sources, targets) == Disjoint(source_images=3, target_images=2, overlaps=0)


def test_a_planted_duplicate_is_found_and_named() -> None:
    sources = [manifest("s1", a="1"), manifest("s2", other_name="copied")]
    targets = [manifest("t1", a="4"), manifest("t2", b="5", victim="copied")]
    assert overlaps(sources, targets) == [("s2/other_name.png", "t2/victim.png")]
    with pytest.raises(CheckError) as caught:
        check_disjoint(sources, targets)
    message = str(caught.value)
    assert "s2/other_name.png" in message and "t2/victim.png" in message and "1 such" in message
    assert "\n" not in message
    assert caught.value.exit_code == 1


def test_one_pair_for_each_target_image() -> None:
    """A hundred blank images on both sides are a hundred leaks, not ten thousand."""
    blank = {f"i{number}": "blank" for number in range(100)}
    found = overlaps([manifest("s", **blank)], [manifest("t", **blank)])
    assert len(found) == 100
    with pytest.raises(CheckError, match="100 such target images"):
        check_disjoint([manifest("s", **blank)], [manifest("t", **blank)])


def test_doubles_on_one_side_are_no_leak() -> None:
    assert check_disjoint([manifest("s", a="1", b="1")], [manifest("t", a="2", b="2")]).overlaps == 0


@pytest.mark.parametrize(("sources", "targets"), [([], ["t"]), (["s"], []), (["empty"], ["t"]), (["s"], ["empty"])])
def test_nothing_compared_proves_nothing(sources: list[str], targets: list[str]) -> None:
    made = {"s": manifest("s", a="1"), "t": manifest("t", a="2"), "empty": manifest("empty")}
    with pytest.raises(InputError, match=r"no (source|target) images"):
        check_disjoint([made[name] for name in sources], [made[name] for name in targets])
