"""A graph against the operator lists of the backends that the paper names: TensorRT, and QNN's GPU and HTP.

`operators/` holds the lists: what is supported, in which types, of how many axes, since which version; `sources.json`
says which document each comes from and when it was read. What no document says stays empty ("not documented"): a list
is a promise of its author's, not a measurement.

QNN's lists speak of QNN's operations (see `edgezsad.export.uses`).
"""

import csv
import functools
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from edgezsad.errors import CheckError
from edgezsad.export.uses import FOLDER, Use, uses_of

BACKENDS = ("tensorrt", "qnn-gpu", "qnn-htp")


@dataclass(frozen=True)
class Source:
    """Where a list comes from.

    Attributes:
        title: the backend's name in tables.
        list: document and version.
        read: the day.
        max_rank: of any tensor, where one number holds for all operators.
        rank_source: what says how many axes are taken.
        note: what the list does not say.
    """

    title: str
    list: str
    read: str
    max_rank: int | None
    rank_source: str
    note: str


@dataclass(frozen=True)
class Rule:
    """One row of a list.

    Attributes:
        operator: an ONNX operator, or a QNN operation.
        supported: "yes", "no", or "not documented".
        types: of its output, "FP32" and the like; empty if not documented.
        min_rank, max_rank: how many axes its tensors may have; None if not documented.
        since: the first version that has it, where the list says so.
        note: a restriction, in words.
    """

    operator: str
    supported: str
    types: frozenset[str]
    min_rank: int | None
    max_rank: int | None
    since: str
    note: str


@functools.cache
def source(backend: str) -> Source:
    """Where a backend's list comes from."""
    return Source(**json.loads((FOLDER / "sources.json").read_text(encoding="utf-8"))[backend])


@functools.cache
def rules(backend: str) -> dict[str, Rule]:
    """A backend's list, by operator."""

    def number(text: str) -> int | None:
        return int(text) if text else None

    with open(FOLDER / f"{backend.replace('-', '_')}.csv", newline="", encoding="utf-8") as stream:
        return {
            row["operator"]: Rule(
                row["operator"],
                row["supported"],
                frozenset(row["types"].split()),
                number(row["min_rank"]),
                number(row["max_rank"]) or source(backend).max_rank,
                row["since"],
                row["note"],
            )
            for row in csv.DictReader(stream)
        }


def against(backend: str, uses: list[Use]) -> list[str]:
    """What a backend's list says against these uses; one line each."""
    listed = rules(backend)
    problems = []
    for use in uses:
        rule = listed.get(use.operator)
        if rule is None or rule.supported == "no":
            problems.append(f"node {use.where}: {use.operator} is not supported")
            continue
        if rule.supported == "not documented":
            problems.append(f"node {use.where}: {use.operator} is not documented")
            continue
        if rule.types and use.types - rule.types:
            problems.append(
                f"node {use.where}: {use.operator} does not give {', '.join(sorted(use.types - rule.types))}"
            )
        for rank in sorted(use.ranks):
            if (rule.max_rank is not None and rank > rule.max_rank) or (rule.min_rank or 0) > rank:
                limits = f"{rule.min_rank or 0} to {rule.max_rank or 'any number'}"
                problems.append(f"node {use.where}: {use.operator} with {rank} axes, where {limits} are taken")
        problems += [f"node {use.where}: {use.operator} {broken}" for broken in use.broken]
    return problems


def findings(path: Path | str, backend: str) -> list[str]:
    """What a backend's list says against a graph; empty when there is nothing.

    Raises:
        InputError: the file is missing or damaged.
        CheckError: its shapes cannot be inferred.
    """
    return against(backend, uses_of(path, backend))


def check_backends(path: Path | str) -> None:
    """Raise if any backend's list says something against a graph.

    Raises:
        CheckError: one line with the findings of each backend.
        InputError: the file is missing or damaged.
    """
    against_it = {source(backend).title: findings(path, backend) for backend in BACKENDS}
    refused = [f"{title}: {summary(problems)}" for title, problems in against_it.items() if problems]
    if refused:
        raise CheckError(f"{path}: {'; '.join(refused)}; change the model, export again")


def summary(problems: list[str]) -> str:
    """Findings in few words: each kind once, with the number of nodes."""
    kinds = Counter(problem.partition(": ")[2] for problem in problems)
    return "; ".join(f"{kind} ({number} node{'s' * (number > 1)})" for kind, number in kinds.items()) or "none"


def backend_table(paths: dict[str, Path]) -> pd.DataFrame:
    """One row a graph and backend: operators, most axes, findings and the list's source.

    Args:
        paths: ONNX files by what they are called in the table.
    """
    rows = []
    for graph, path in paths.items():
        for backend in BACKENDS:
            uses, origin = uses_of(path, backend), source(backend)
            problems = against(backend, uses)
            rows.append(
                {
                    "graph": graph,
                    "backend": origin.title,
                    "operators": len({use.operator for use in uses}),
                    "most axes": max(rank for use in uses for rank in use.ranks),
                    "findings": len(problems),
                    "what": summary(problems),
                    "source": f"{origin.list}; read {origin.read}",
                }
            )
    return pd.DataFrame(rows)
