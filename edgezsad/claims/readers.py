"""How a claim reads its number from a results file, and when a result is too incomplete to bear anything out."""

from collections.abc import Callable, Iterable
from typing import Any

from edgezsad.claims.claim import Found, Part
from edgezsad.errors import InputError
from edgezsad.run import Run

Value = Callable[[Run], Found]


def name_of(notebook: str) -> str:
    """The results file that a notebook writes under its own name: "08_jetson_drift" writes `jetson_drift.json`."""
    return notebook.partition("_")[2]


def results(run: Run, notebook: str, *keys: str, name: str = "") -> Any:
    """One part of a results file, whatever it is.

    Args:
        run: whose results are read.
        notebook: that wrote the file.
        *keys: the way to the part, from the top.
        name: of the file, where it is not the notebook's own.

    Raises:
        InputError: the file is missing, of another profile, or has no such part.
    """
    name = name or name_of(notebook)
    value = run.read_result(name, notebook)
    made_by = value.get("profile") if isinstance(value, dict) else None
    if made_by not in (None, run.profile.profile):
        raise InputError(
            f"{run.result_path(name)}: made by profile {made_by}, not {run.profile.profile}; "
            f"run notebook {notebook} again"
        )
    for key in keys:
        try:
            value = value[key]
        except (KeyError, TypeError):
            path = run.result_path(name)
            raise InputError(f"{path}: no {'.'.join(keys)} in it; run notebook {notebook} again") from None
    return value


def number(run: Run, notebook: str, *keys: str, name: str = "") -> float | None:
    """One number of a results file; None where it says "not run".

    Raises:
        InputError: as `results`, or what is there is no number.
    """
    value = results(run, notebook, *keys, name=name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        path = run.result_path(name or name_of(notebook))
        raise InputError(f"{path}: {'.'.join(keys)} is not a number; run notebook {notebook} again")
    return value


def result(
    notebook: str, *keys: str, name: str = "", unless: Callable[[Run], str] | None = None, worst: bool = False
) -> Value:
    """A claim's `value`: one number of a results file, unless something is missing that it should stand on.

    Args:
        notebook: that wrote the file.
        *keys: the way to the number, from the top.
        name: of the file, where it is not the notebook's own.
        unless: says what is missing of the result; empty when it is whole.
        worst: whether the number is the worst of what is there, so that a part of it can fail the claim.
    """

    def read(run: Run) -> Found:
        value = number(run, notebook, *keys, name=name)
        missing = unless(run) if unless and value is not None else ""
        if value is None or not missing:
            return value
        return Part(value, missing) if worst else f"incomplete: {missing}"

    return read


def listed(names: Iterable[str]) -> str:
    """Names in a row, each once, in order."""
    return ", ".join(dict.fromkeys(names))


def missing_rows(rows: list[dict[str, Any]], run: Run, seeds: Iterable[int], columns: Iterable[str]) -> str:
    """Which targets and seeds of the profile a drift table lacks, or has no value of; empty when none.

    A mean over the targets that happen to be there would bear out a claim on all of them.
    """
    columns = tuple(columns)
    found = {(row["target"], row["seed"]) for row in rows if all(row.get(name) is not None for name in columns)}
    lacking = [
        f"{item.name} seed {seed}"
        for item in run.profile.data.targets
        for seed in seeds
        if (item.name, seed) not in found
    ]
    return f"no value of {listed(lacking)}" if lacking else ""


def test_images(run: Run) -> dict[str, int]:
    """Test images of each target, as the benchmark table counted them."""
    counts: dict[tuple[str, str], int] = {}
    for row in results(run, "06_benchmarks", "categories"):
        counts[row["target"], row["category"]] = row["images"]
    totals: dict[str, int] = {}
    for (target, _), images in counts.items():
        totals[target] = totals.get(target, 0) + images
    return totals


def not_as_published(run: Run, names: Iterable[str]) -> str:
    """Which of these sets are not whole, or not known to be: their numbers of images against those published."""
    same = {row["set"]: row["same as published"] for row in results(run, "01_data", "sets")}
    wrong = [
        f"{name} ({same.get(name) or 'no published numbers'})"
        for name in names
        if not str(same.get(name) or "").startswith("yes")
    ]
    return f"not the published sets: {listed(wrong)}" if wrong else ""
