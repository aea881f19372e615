"""Results as boards bring them, unpacked, for tests to spoil, and sealed again where a spoilt one shall get past it."""

import hashlib
import shutil
from pathlib import Path

SEALED = (
    *("kit.json", "images.tsv", "facts.tsv", "commands.tsv", "sessions.tsv", "time.tsv", "times.json", "profile.json"),
    *("time/time.tsv", "time/profile.csv", "time/profile.txt"),
)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def seal(folder: Path) -> None:
    """Make all hashes those of the files as they are."""
    facts = (folder / "facts.tsv").read_text().splitlines()
    facts = [f"kit_sha256\t{digest(folder / 'kit.json')}" if line.startswith("kit_sha256") else line for line in facts]
    (folder / "facts.tsv").write_text("\n".join(facts) + "\n")
    sums = [f"{digest(folder / name)}  {name}\n" for name in SEALED if (folder / name).exists()]
    (folder / "SHA256SUMS").write_text("".join(sums))
    if (folder / "outputs.tsv").exists():
        rows = [line.split("\t") for line in (folder / "images.tsv").read_text().splitlines()]
        told = [(row[0], row[3], folder / "outputs" / row[1] / f"{row[0]}.json") for row in rows]
        (folder / "outputs.tsv").write_text(
            "".join(f"{key}\t{sha256}\t{digest(path)}\n" for key, sha256, path in told if path.exists())
        )
    for lot in folder.glob("chunks/*"):
        lines = sorted((int(path.name.split("_")[1]), path) for path in lot.glob("Result_*"))
        (lot / "outputs.tsv").write_text(
            "".join(
                f"{line}\t{digest(path / 'score.raw')}\t{digest(path / 'map.raw')}\n"
                for line, path in lines
                if (path / "score.raw").exists() and (path / "map.raw").exists()
            )
        )


def swap(first: Path, second: Path) -> None:
    """Let two files, or two folders, change places."""
    aside = first.with_name("aside")
    shutil.move(first, aside)
    shutil.move(second, first)
    shutil.move(aside, second)
