"""The benchmark of the pixel metrics: it runs, says of every competitor what it found or why not, feeds the page."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from edgezsad.errors import InputError
from edgezsad.plots import speed

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "metrics.py"
FOUR = {"auroc", "average_precision", "f1_max", "aupro"}
# What each competitor gives; together with the package's own names this is the list that the book shows.
GIVES = {
    "one_pass": FOUR,
    "one_pass_by_category": FOUR,
    "one_sort": FOUR,
    "one_sort_by_category": FOUR,
    "steps": {"aupro_steps"},
    "scikit_learn": {"auroc", "average_precision", "f1_max"},
    "torchmetrics": {"auroc", "average_precision", "f1_max"},
    "torchmetrics_200": {"auroc", "average_precision", "f1_max"},
    "adeval": {"auroc", "average_precision", "aupro"},
    "loop": {"aupro_steps"},
}
# How far each may lie from exact numbers; what counts in bins or at even thresholds lies further.
NEAR = {"torchmetrics_200": 0.1, "adeval": 0.01, "torchmetrics": 1e-5, "loop": 1e-3}


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("benchmark") / "metrics.json"
    done = run("--images", "3", "--runs", "1", "--patience", "0", "--out", out)
    assert done.returncode == 0, done.stderr
    assert "benchmark: " in done.stderr
    return json.loads(out.read_text())


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    return speed.read_speed(ROOT / "benchmarks" / "results" / "metrics.json")


def check(results: dict[str, Any]) -> None:
    """What holds for every results file."""
    assert {row["name"] for row in results["rows"]} - {"exact"} == set(GIVES)
    for row in results["rows"]:
        if row["status"] != "ok":
            assert row["status"].startswith("not run: "), row["status"]
            assert row["name"] in ("torchmetrics", "torchmetrics_200", "adeval")
            continue
        assert set(row["values"]) == GIVES.get(row["name"], FOUR), row["name"]
        assert row["runs"] >= 1
        assert 0 < row["seconds_min"] <= row["seconds_median"]
        assert row["others"] is None or 0 <= row["others"] <= 1
        assert 0 < row["imports_mb"] <= row["peak_mb"]
        for metric, value in row["values"].items():
            assert 0 <= value <= 1, (row["name"], metric)
        for metric, difference in row["differences"].items():
            near = NEAR.get(row["name"], 1e-5 if metric == "auroc" else 1e-4)
            assert difference <= near, (row["name"], metric)
    assert [point["images"] for point in results["series"]][-1] == results["made"]["images"]


def test_a_small_benchmark(tiny: dict[str, Any]) -> None:
    check(tiny)
    assert tiny["made"]["images"] == tiny["made"]["few"] == 3
    assert tiny["agreement"] is None
    # Two that were written apart find the same.
    rows = {row["name"]: row for row in tiny["rows"]}
    assert rows["one_pass"]["values"] == pytest.approx(rows["one_sort"]["values"], abs=1e-4)
    assert rows["steps"]["values"] == pytest.approx(rows["loop"]["values"], abs=1e-3)


def test_recorded_results_hold_what_the_page_shows(recorded: dict[str, Any]) -> None:
    check(recorded)
    assert recorded["made"]["images"] == recorded["made"]["mvtec_ad"] == 1725
    assert len(recorded["series"]) >= 4
    assert all(row["status"] == "ok" for row in recorded["rows"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", recorded["machine"]["date"])
    assert len(recorded["agreement"]["sets"]) >= 2
    # Nothing of the machine but what a reader needs to judge the numbers.
    text = json.dumps(recorded)
    for word in ("/home", "/tmp", "/work", "/root", "://"):
        assert word not in text


def test_recorded_numbers_agree_on_photographs(recorded: dict[str, Any]) -> None:
    agreed = [row for row in recorded["agreement"]["rows"] if not row["title"].startswith("EdgeZSAD")]
    assert len({row["title"] for row in agreed}) >= 4
    for row in recorded["agreement"]["rows"]:
        limits = {"EdgeZSAD, one pass": 1e-4, "scikit-learn": 1e-9, "one sort": 1e-9}
        for metric, difference in row["differences"].items():
            assert difference <= limits.get(row["title"], 0.01), (row["title"], row["set"], metric)


@pytest.mark.parametrize("which", ["tiny", "recorded"])
def test_tables_and_figure_of_the_page(which: str, request: pytest.FixtureRequest) -> None:
    results = request.getfixturevalue(which)
    assert set(speed.targets(results)["reached"]) <= {"yes", "no", "not run"}
    assert len(speed.side_by_side(results)) == len(results["rows"])
    assert len(speed.numbers(results)) == sum(row["status"] == "ok" for row in results["rows"])
    assert len(speed.agreement_table(results)) >= 1
    assert len(speed.agreement_sets(results)) >= 1
    assert results["machine"]["date"] in set(speed.machine_table(results)["value"])
    assert len(speed.linearity(results).axes) == 2


def test_a_target_is_reached_or_not(recorded: dict[str, Any]) -> None:
    slow = json.loads(json.dumps(recorded))
    for row in slow["rows"]:
        if row["name"] == "one_pass":
            row |= {"mpixel_per_second": 149.0, "seconds_median": 3.5, "peak_mb": 301.0}
            row["differences"] |= {"auroc": 2e-5, "f1_max": 2e-4}
        if row["name"] == "adeval":
            row |= {"mpixel_per_second": 149.0 / 4, "status": "ok"}
        if row["name"] == "loop":
            row |= {"status": "not run: a reason"}
    reached = speed.targets(slow)["reached"].tolist()
    assert reached == ["no", "no", "no", "not run", "not run", "yes", "yes", "no", "no"]


def test_wrong_use_is_one_line(tmp_path: Path) -> None:
    done = run("--images", "1", "--out", tmp_path / "out.json")
    assert (done.returncode, done.stderr) == (2, "error: --images 1 --runs 5: give at least 2 images and 1 run\n")
    with pytest.raises(InputError, match="run `make bench`"):
        speed.read_speed(tmp_path / "none.json")


def test_pins_are_those_of_the_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {item.name: item.specifier for item in map(Requirement, project["optional-dependencies"]["bench"])}
    text = (ROOT / "benchmarks" / "requirements.txt").read_text(encoding="utf-8")
    pins = dict(re.findall(r"^([a-z0-9-]+)==(\S+) ", text, re.MULTILINE))
    assert set(pins) == set(wanted)
    assert all(specifier.contains(pins[name]) for name, specifier in wanted.items())
    assert text.count("--hash=sha256:") == 2 * len(pins)
