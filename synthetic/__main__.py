"""Generate a small set for every data set of a profile, in its real layout: `python -m synthetic PROFILE FOLDER`.

A rehearsal reads these sets instead of the real ones. No two sets share a family.
"""

import argparse
from itertools import islice
from pathlib import Path

import yaml

from synthetic import SetSpec, families, generate_set


def main(arguments: list[str] | None = None) -> None:
    """Read the arguments and write the sets."""
    parser = argparse.ArgumentParser(prog="python -m synthetic", description=__doc__)
    parser.add_argument("profile", type=Path, help="for instance configs/paper.yaml")
    parser.add_argument("folder", type=Path, help="where to write the sets")
    parser.add_argument("--images", type=int, default=2, help="images per category, split and label")
    parser.add_argument("--size", type=int, default=192, help="height and width in pixels")
    given = parser.parse_args(arguments)
    data = yaml.safe_load(given.profile.read_text(encoding="utf-8"))["data"]
    unused = iter(families())
    for item in (*data["source"], *data["targets"]):
        chosen = tuple(islice(unused, 2))
        spec = SetSpec(item["name"], item["layout"], chosen, *[given.images] * 3, (given.size, given.size))
        print(generate_set(spec, given.folder / item["root"], seed=0, workers=1))


if __name__ == "__main__":
    main()
