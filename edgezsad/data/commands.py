"""Commands `edgezsad data check NAME ROOT` and `edgezsad data index NAME ROOT`."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

data_app = typer.Typer(help="Check and index copies of the public data sets.", no_args_is_help=True)


def _folder(text: str) -> Path:
    """An empty text, for instance of an unset variable, would mean the current folder."""
    if not text:
        raise typer.BadParameter("is empty; give the folder that the data set was unpacked into")
    return Path(text)


Name = Annotated[str, typer.Argument(help='A data set, for instance MVTec-AD; "any" for a folder in MVTec layout.')]
Root = Annotated[Path, typer.Argument(help="The folder that it was unpacked into.", parser=_folder)]
Workers = Annotated[int, typer.Option(min=1, help="Threads that read files.", show_default="one a core")]

CORES = os.cpu_count() or 1


@data_app.command()
def check(
    name: Name,
    root: Root,
    quick: Annotated[bool, typer.Option("--quick", help="Compare names only; open no image.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
    workers: Workers = CORES,
) -> None:
    """Check whether a copy is complete and undamaged; exit code 1 if it is not."""
    from edgezsad.data.check import check_dataset

    report = check_dataset(name, root, quick, workers)
    typer.echo(json.dumps(report.as_json(), indent=2) if as_json else report.as_text())
    report.require_complete()


@data_app.command()
def index(
    name: Name,
    root: Root,
    out: Annotated[Path | None, typer.Option(help="The manifest.", show_default="NAME.csv; FOLDER.csv for any")] = None,
    workers: Workers = CORES,
) -> None:
    """Write the manifest, with the hash of every file; a second run reads only changed files."""
    from edgezsad.config import DataSet
    from edgezsad.data.descriptors import ANY, count_differences, find_descriptor
    from edgezsad.data.manifest import cache_path, index_dataset, write_manifest
    from edgezsad.files import check_may_be_written
    from edgezsad.progress import ticker

    descriptor = find_descriptor(name)
    item = descriptor.data_set(root) if descriptor else DataSet(name=ANY, layout="mvtec", root=root)
    out = out or Path(f"{item.name if descriptor else root.resolve().name or ANY}.csv")
    # Before the hours that a large set takes.
    check_may_be_written(out)
    with ticker(f"index {item.name}") as tick:
        manifest = index_dataset(item, root, cache_path(out), workers, tick)
    write_manifest(manifest, out)
    defective = sum(entry.label for entry in manifest.entries)
    masks = sum(bool(entry.mask) for entry in manifest.entries)
    typer.echo(
        f"{out}: {len(manifest.entries):,} images, {defective:,} defective, {masks:,} with a mask; "
        f"manifest hash {manifest.sha256}"
    )
    if descriptor and (differences := count_differences(descriptor, manifest.entries)):
        typer.echo(f"not as published: {'; '.join(differences[:3])}; `edgezsad data check` lists the files")
    typer.echo("pixels were not decoded: `edgezsad data check` finds truncated images and empty or missing masks")
