"""Metadata for archives and catalogues: agreement with CITATION.cff; workflows: pinned actions, least permissions."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import edgezsad

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def test_all_metadata_agrees(script: Callable[[str], ModuleType]) -> None:
    pytest.importorskip("mlcroissant")
    pytest.importorskip("rocrate")
    publish_metadata = script("publish_metadata")
    cff = publish_metadata.read_citation()
    committed = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert committed["version"] == edgezsad.__version__ == cff["version"]
    assert re.search(rf"^## {re.escape(edgezsad.__version__)}$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    again = "run python benchmarks/publish_metadata.py"
    assert json.loads((ROOT / "codemeta.json").read_text()) == publish_metadata.codemeta(cff), again
    assert json.loads((ROOT / ".zenodo.json").read_text()) == publish_metadata.zenodo(cff), again


def test_the_model_card_starts_with_front_matter() -> None:
    start, front, text = (ROOT / "book" / "model-card.md").read_text(encoding="utf-8").split("---\n", 2)
    assert start == "" and text.startswith("# ")
    assert yaml.safe_load(front)["license"] == "apache-2.0"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_pin_actions_and_ask_for_little(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    uses = re.findall(r"uses: (.*)", text)
    assert uses and all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each) for each in uses), uses
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] in ({}, {"contents": "read"})
    for name, job in workflow["jobs"].items():
        assert "timeout-minutes" in job, name
        # A job that runs the repository's code can write nothing; one that can write runs none.
        if "write" in job.get("permissions", {}).values():
            assert not [step for step in job["steps"] if "run" in step], name
