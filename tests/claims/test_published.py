"""What follows from published numbers alone, worked out by hand; and it fails where a number is mistyped."""

from dataclasses import replace
from typing import Any

import pytest

from edgezsad import reported
from edgezsad.claims import check
from edgezsad.claims.published import PUBLISHED, peers

BY_NAME = {claim.name: claim for claim in PUBLISHED}


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("frames a second", 30.460),
        ("ranking, VisA", 88.2 - 86.8),
        ("ranking, MVTec-AD", 91.6 - (92.0 + 92.2) / 2),
        ("localisation, MVTec-AD pixel AUROC", 91.1 - 79.3),
        ("localisation, MVTec-AD PRO", (64.6 + 81.4) / 2 - 67.8),
        ("localisation, VisA pixel AUROC", 95.1 - 92.9),
        ("localisation, VisA PRO", 86.8 - 74.2),
        ("parameters, ratio", 428.6 / 21),
    ],
)
def test_by_hand(mini: Any, name: str, ours: float) -> None:
    (verdict,) = check(mini, [BY_NAME[name]])
    assert verdict.status == "holds"
    assert verdict.ours == pytest.approx(ours, abs=1e-3)


def test_every_claim_is_worked_out_by_hand_above() -> None:
    cases = test_by_hand.pytestmark[0].args[1]
    assert {name for name, _ in cases} == set(BY_NAME)


def test_batches_and_re_runs_are_no_peers() -> None:
    assert 92.8 not in peers("VisA", "image_auroc")
    assert len(peers("MVTec-AD", "image_auroc")) == 10
    assert 90.4 not in peers("MVTec-AD", "image_auroc")


def test_a_mistyped_number_fails(mini: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reported, "JETSON", replace(reported.JETSON, milliseconds=32.38))
    (verdict,) = check(mini, [BY_NAME["frames a second"]])
    assert verdict.status == "fails"


def test_both_tables_of_the_field_agree() -> None:
    for one in reported.FIELD:
        for benchmark, value in (("MVTec-AD", one.mvtec), ("VisA", one.visa)):
            rows = [
                row.image_auroc
                for row in reported.FIELD_ACCURACY
                if row.benchmark == benchmark and row.method == one.method.partition(" (")[0] and not row.rerun
            ]
            assert rows == ([] if value is None else [value]), one.method
