"""The workflows for forks: valid by GitHub's schema, pinned, with the least rights, and calling what there is."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PYTHONS = ["3.11", "3.12", "3.13"]


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text(encoding="utf-8"))


def jobs_of(path: Path) -> dict[str, dict[str, Any]]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]


def steps_of(path: Path) -> list[dict[str, Any]]:
    return [step for job in jobs_of(path).values() for step in job["steps"]]


def commands(path: Path) -> str:
    return "\n".join(step["run"] for step in steps_of(path) if "run" in step)


def linted(path: Path) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("check_jsonschema", reason="check-jsonschema is not installed")
    # The schema comes with the package: nothing is fetched.
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_there_are_three() -> None:
    assert [path.stem for path in WORKFLOWS] == ["book", "tests", "weekly"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_valid_by_the_schema(path: Path) -> None:
    done = linted(path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_linter_finds_what_is_wrong(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(WORKFLOWS[0].read_text(encoding="utf-8").replace("runs-on:", "run-on:"), encoding="utf-8")
    assert linted(wrong).returncode == 1


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_and_rights_are_few(path: Path) -> None:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert content["permissions"] == {"contents": "read"}
    for name, job in content["jobs"].items():
        # Only what publishes may write, and only to Pages.
        wanted = {"pages": "write", "id-token": "write"} if name == "publish" else None
        assert job.get("permissions") == wanted, name
        assert job["timeout-minutes"] <= 120
        assert re.fullmatch(r"ubuntu-\d\d\.\d\d", job["runs-on"])
    used = [step["uses"] for step in steps_of(path) if "uses" in step]
    assert used
    for action in used:
        assert re.fullmatch(r"actions/[a-z-]+@v\d+\.\d+\.\d+", action), action
    for step in steps_of(path):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False
    # Nothing that somebody else can write, such as a title of a pull request, becomes part of a command.
    assert "${{" not in commands(path)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_what_they_call_is_there(path: Path) -> None:
    text = commands(path)
    targets = set(re.findall(r"\bmake ([a-z-]+)", text))
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert targets <= known
    for script in re.findall(r"^\.ci/\S+", text, re.MULTILINE):
        assert (ROOT / script).stat().st_mode & 0o111


def test_tests_run_on_every_python_that_the_package_promises() -> None:
    job = read("tests")["jobs"]["tests"]
    assert job["strategy"]["matrix"]["python"] == PYTHONS
    assert job["strategy"]["fail-fast"] is False
    assert "make test" in commands(ROOT / ".github/workflows/tests.yml")


@pytest.mark.parametrize("name", ["tests", "book"])
def test_downloads_are_kept_by_the_pins(name: str) -> None:
    path = ROOT / ".github" / "workflows" / f"{name}.yml"
    (setup,) = [step for step in steps_of(path) if step.get("uses", "").startswith("actions/setup-python@")]
    assert setup["with"]["cache"] == "pip"
    assert setup["with"]["cache-dependency-path"] == "requirements.lock"


def test_the_weekly_run_starts_from_nothing() -> None:
    path = ROOT / ".github" / "workflows" / "weekly.yml"
    assert "cache" not in yaml.safe_dump(steps_of(path))
    assert all(job["env"]["PIP_NO_CACHE_DIR"] == "1" for job in jobs_of(path).values())
    assert ".ci/run" in commands(path)
    # YAML reads the key "on" as true.
    (times,) = yaml.safe_load(path.read_text(encoding="utf-8"))[True]["schedule"]
    assert re.fullmatch(r"\d+ \d+ \* \* \d", times["cron"])


def test_the_book_is_published_only_when_its_claims_hold() -> None:
    jobs = read("book")["jobs"]
    lines = [step.get("run") or step.get("uses") for step in jobs["build"]["steps"]]
    check = lines.index(".venv/bin/edgezsad claims check")
    upload = next(number for number, line in enumerate(lines) if line.startswith("actions/upload-pages-artifact"))
    assert lines.index("make book") < check < upload
    assert "if" not in jobs["build"]["steps"][check] and "continue-on-error" not in yaml.safe_dump(jobs)
    assert jobs["build"]["steps"][upload]["with"]["path"] == "book/_build/html"
    assert jobs["publish"]["needs"] == "build"
    assert "default_branch" in jobs["publish"]["if"] and "pull_request" in jobs["publish"]["if"]
