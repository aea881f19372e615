"""What `benchmarks/training_step.py` measured, as the book shows it: the step's speed on GPUs, cost and profile."""

from pathlib import Path
from typing import Any

import pandas as pd

from edgezsad.files import read_json

REMEDY = "run `python benchmarks/training_step.py` to write it again"
NOTHING = "-"


def read_training_step(path: Path | str) -> dict[str, Any]:
    """Read the results file.

    Raises:
        InputError: it is missing or damaged.
    """
    return read_json(path, REMEDY)


def gpu_hours(images_per_second: float, batch: int, seeds: int, steps: int) -> float:
    """Hours of one GPU that training takes, the steps alone: loading, validation and scoring come on top."""
    return seeds * steps * batch / images_per_second / 3600


def step_table(results: dict[str, Any]) -> pd.DataFrame:
    """Every row that was measured, by device; where no GPU has measured, one row a mode says so."""
    rows = []
    if not _gpu_rows(results):
        for planned in results["plan"]:
            batches = ", ".join(map(str, planned["batches"]))
            rows.append(_empty("an NVIDIA GPU", planned["mode"], batches, results["gpu"]))
    for row in results["rows"]:
        if row["status"] != "ok":
            rows.append(_empty(row["device"], row["mode"], str(row["batch"]), row["status"], row))
            continue
        rows.append(
            _empty(row["device"], row["mode"], str(row["batch"]), row.get("says", "measured"), row)
            | {
                "images/s": f"{row['images_per_second']:.1f}",
                "MFU": _mfu(row),
                "peak GiB": f"{row['peak_gib']:.1f}",
            }
        )
    return pd.DataFrame(rows)


def cost_table(results: dict[str, Any]) -> pd.DataFrame:
    """GPU-hours of the paper's training, all seeds, at the fastest mode of each batch on each GPU."""
    cost = results["cost"]
    what = f"{cost['seeds']} seeds of {cost['steps']:,} steps"
    best: dict[tuple[str, int], dict[str, Any]] = {}
    for row in _gpu_rows(results):
        key = row["device"], row["batch"]
        if row["status"] == "ok" and row["images_per_second"] > best.get(key, {}).get("images_per_second", 0):
            best[key] = row
    if not best:
        return pd.DataFrame([{"what": what, "GPU-hours": results["gpu"] if not _gpu_rows(results) else "not measured"}])
    return pd.DataFrame(
        [
            {
                "what": what,
                "device": device,
                "batch": batch,
                "mode": row["mode"],
                "GPU-hours": f"{gpu_hours(row['images_per_second'], batch, **cost):.2f}",
                "measured": row["date"],
            }
            for (device, batch), row in sorted(best.items())
        ]
    )


def goal_table(results: dict[str, Any]) -> pd.DataFrame:
    """The aim, and the best that was measured; with the FLOPs it is computed from."""
    goal, paper = results["goal"]["mfu"], results["flops"]["paper"]
    done = [row for row in _gpu_rows(results) if row["status"] == "ok" and row["mfu"] is not None]
    best = max(done, key=lambda row: row["mfu"], default=None)
    ceilings = [item for item in results["ceilings"] if item["shape"] == "paper" and item["status"] == "ok"]
    measured = "; ".join(f"{item['bf16_tflops']:.0f} TFLOP/s, {item['device']}, {item['date']}" for item in ceilings)
    found = f"{best['mfu']:.1%}: {best['mode']}, batch {best['batch']}, {best['device']}" if best else results["gpu"]
    rows = {
        "best MFU": (f"at least {goal:.0%}", found),
        "bf16 matrix products": (NOTHING, measured or results["gpu"]),
        "FLOPs an image, forward": (NOTHING, f"{paper['forward_gflops_an_image']:.1f} G (1 multiply-add = 2)"),
        "FLOPs an image, forward and backward": (NOTHING, f"{paper['training_gflops_an_image']:.1f} G"),
    }
    return pd.DataFrame([{"what": what, "wanted": wanted, "measured": value} for what, (wanted, value) in rows.items()])


def profile_table(results: dict[str, Any]) -> pd.DataFrame:
    """Where the time of a step on a GPU goes, percent of it, by kind of kernel; idle is time without any."""
    done = [item for item in results["profiles"] if item["shape"] == "paper" and item["status"] == "ok"]
    if not done:
        return pd.DataFrame([{"kind": "all", "share": results["gpu"] if not _gpu_rows(results) else "not measured"}])
    columns = {
        f"{item['mode']}, batch {item['batch']}, {item['device']}": {
            kind: f"{100 * share:.1f} %" for kind, share in item["shares"].items()
        }
        for item in done
    }
    # In the first profile's order, which is by share; kinds that only another one has come last.
    kinds = dict.fromkeys(kind for column in columns.values() for kind in column)
    return pd.DataFrame([{"kind": kind} | {n: c.get(kind, NOTHING) for n, c in columns.items()} for kind in kinds])


def _gpu_rows(results: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in results["rows"] if row["shape"] == "paper"]


def _mfu(row: dict[str, Any]) -> str:
    # A tiny model's share of a processor's matrix products would be a number without a meaning.
    return NOTHING if row["shape"] == "tiny" or row["mfu"] is None else f"{row['mfu']:.1%}"


def _empty(device: str, mode: str, batch: str, status: str, row: dict[str, Any] | None = None) -> dict[str, str]:
    numbers = dict.fromkeys(("images/s", "MFU", "peak GiB"), NOTHING)
    date = row["date"] if row else NOTHING
    return {"device": device, "mode": mode, "batch": batch} | numbers | {"date": date, "status": status}
