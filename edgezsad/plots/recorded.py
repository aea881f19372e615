"""Recorded benchmarks as the book shows them: loading images, the search for near-duplicates, the forward pass."""

import re
from pathlib import Path
from typing import Any

import pandas as pd

from edgezsad.files import read_json


def read_loading(path: Path | str) -> dict[str, Any]:
    """Read what `benchmarks/loading.py` wrote.

    Raises:
        InputError: it is missing or damaged.
    """
    return read_json(path, "run `make bench-loading` to write it again")


def read_leak(path: Path | str) -> dict[str, Any]:
    """Read what `benchmarks/leak.py` wrote.

    Raises:
        InputError: it is missing or damaged.
    """
    return read_json(path, "run `make bench-leak` to write it again")


def read_forward(path: Path | str) -> dict[str, Any]:
    """Read what `benchmarks/forward.py` wrote.

    Raises:
        InputError: it is missing or damaged.
    """
    return read_json(path, "run `make bench-forward` to write it again")


def forward_table(results: dict[str, Any]) -> pd.DataFrame:
    """Milliseconds an image by every method, alone and beside a busy process, with the processor's time."""
    rows = []
    for model in results["models"]:
        name = f"{model['backbone']} at {model['size']}"
        alone, busy = model["beside"].values()
        for one, other in zip(alone, busy, strict=True):
            rows.append(
                {
                    "backbone": name,
                    "method": one["method"],
                    "threads": one["threads"],
                    "ms": one["milliseconds_median"],
                    "processor ms": one["cpu_milliseconds_median"],
                    "ms beside a busy process": other["milliseconds_median"],
                }
            )
        floor = {"method": "floor: the matrix products alone", "ms": model["floor_milliseconds"]}
        rows.append({"backbone": name, **floor})
    return pd.DataFrame(rows)


def forward_machine(results: dict[str, Any]) -> str:
    """Where and when the forward pass was measured, and how busy the machine was; one sentence."""
    alone = [row for model in results["models"] for row in next(iter(model["beside"].values()))]
    others = [row["cores_used_by_others_median"] for row in alone]
    return (
        f"Median of {results['rounds']} rounds, {results['date']}, {results['cores']} cores, {results['cpu']}; "
        f"matrix products at {results['matrix_product_gflop_per_second']:.0f} GFLOP/s; other work used up to "
        f"{max(others):.1f} cores meanwhile."
    )


def loading_table(results: dict[str, Any]) -> pd.DataFrame:
    """Images a second of every method, with one and with two workers."""
    return pd.DataFrame(
        [
            {
                "what": row["method"],
                "workers": row["workers"],
                "images/s": row["median"],
                "lowest to highest": f"{row['lowest']:.0f} to {row['highest']:.0f}",
                "processor ms an image": row["cpu_milliseconds_an_image"],
            }
            for row in results["images_per_second"]
        ]
    )


def loading_goal(results: dict[str, Any]) -> str:
    """The goal, whether the package's own fast way reached it, when and where; one sentence."""
    wanted = float(re.search(r"\d+", results["goal"])[0])
    ours = next(row for row in results["images_per_second"] if "fast" in row["method"] and row["workers"] == 2)
    reached = "reached" if ours["median"] >= wanted else "not reached"
    return (
        f"Goal: {results['goal']}; {reached}: {ours['median']:.0f}. Median of {results['rounds']} rounds, measured on "
        f"{results['date']} on {results['cores']} cores, {results['cpu']}."
    )


def leak_table(results: dict[str, Any]) -> pd.DataFrame:
    """What the search found of planted pairs, of copies of photographs and of different photographs; and its speed."""
    search, speed, machine = results["search"], results["speed"], results["machine"]
    side = f"{speed['side']} x {speed['side']}"
    rows = {
        f"{search['sources']:,} hashes against {search['targets']:,}, in {search['views']} views": (
            f"{search['seconds']:.1f} s"
        ),
        "planted pairs found": f"{search['found']:,} of {search['planted']:,}, and {search['others']:,} others",
        **_copies(results.get("generated"), "generated images"),
        **_copies(results.get("photographs"), "photographs"),
        "thumbnails a second": f"{speed['jpeg_images_per_second']:.0f} of JPEG, {speed['png_images_per_second']:.0f} "
        f"of PNG, {side}",
        "where and when": f"{machine['workers']} threads on {machine['cores']} cores, {machine['processor']}; "
        f"{results['date']}",
    }
    return pd.DataFrame([{"what": what, "measured": value} for what, value in rows.items()])


def _copies(found: dict[str, Any] | None, images: str) -> dict[str, str]:
    if not found:
        return {f"copies of {images}": "not run: python benchmarks/leak.py --photographs FOLDER"}
    copies = found["copies"]
    made = sum(row["images"] for row in copies)
    worst = min(copies, key=lambda row: row["found_in_target"] + row["found_in_source"])
    least = (worst["found_in_target"] + worst["found_in_source"]) / (2 * worst["images"])
    target, source = (sum(row[key] for row in copies) for key in ("found_in_target", "found_in_source"))
    rows = {
        f"copies of {images} found, {len(copies)} ways of copying": f"{target:,} of {made:,} in the target, "
        f"{source:,} in the source; {least:.0%} of the hardest way",
    }
    for what, same in (("of two data sets", False), ("of one data set", True)):
        pairs = [row for row in found["different"] if (row["one"] == row["other"]) == same]
        rows[f"pairs of different {images} {what} that are reported"] = (
            f"{sum(row['reported'] for row in pairs):,} of {sum(row['pairs'] for row in pairs):,}"
        )
    return rows
