"""`edgezsad data check NAME ROOT` and `data index NAME ROOT`."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

data_app = typer.Typer(help="Copies of the public data sets.", no_args_is_help=True)


def _folder(text: str) -> Path:
    """A folder as it was typed; an empty text, as of an unset variable, would mean the current one."""
    if not text:
        raise typer.BadParameter("is empty; give the folder that it was unpacked into")
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
    """Say whether a copy is complete and undamaged; exit code 1 if it is not."""
    from edgezsad.data.check import check_copy
    from edgezsad.data.descriptors import find_descriptor

    report = check_copy(find_descriptor(name), root, quick, workers)
    typer.echo(json.dumps(report.as_json(), indent=2) if as_json else report.as_text())
    report.require_complete()


@data_app.command()
def index(
    name: Name,
    root: Root,
    out: Annotated[Path | None, typer.Option(help="The manifest.", show_default="NAME.csv; FOLDER.csv for any")] = None,
    workers: Workers = CORES,
) -> None:
    """Write the manifest, with the hash of every file; again, only what changed is read."""
    from edgezsad.config import DataSet
    from edgezsad.data.descriptors import ANY, find_descriptor
    from edgezsad.data.indexing import cache_path, index_again
    from edgezsad.data.manifest import write_manifest
    from edgezsad.data.published import differences
    from edgezsad.files import check_may_be_written
    from edgezsad.progress import ticker

    descriptor = find_descriptor(name)
    item = descriptor.data_set(root) if descriptor else DataSet(name=ANY, layout="mvtec", root=root)
    out = out or Path(f"{item.name if descriptor else root.resolve().name or ANY}.csv")
    # Before the hours that a large set takes.
    check_may_be_written(out)
    check_may_be_written(cache_path(out))
    try:
        with ticker(f"index {item.name}") as tick:
            indexed = index_again(item, root, cache_path(out), workers, tick)
    except KeyboardInterrupt:
        typer.echo("stopped; the same command goes on where it was", err=True)
        raise
    write_manifest(indexed.manifest, out)
    entries = indexed.manifest.entries
    defective, masks = sum(entry.label for entry in entries), sum(bool(entry.mask) for entry in entries)
    typer.echo(
        f"{out}: {len(entries):,} images, {defective:,} defective, {masks:,} with a mask; {indexed.read:,} read, "
        f"{len(entries) - indexed.read:,} unchanged; manifest hash {indexed.manifest.sha256}"
    )
    if descriptor and (differing := differences(descriptor, indexed.manifest)):
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        typer.echo(
            f"not as published: {', '.join(differing[:3])}{more}; `data check` names what is missing or too many"
        )
    typer.echo("pixels were not decoded: `data check` finds cut-off images and masks that are empty or missing")
    if indexed.unsettled:
        typer.echo(f"{indexed.unsettled:,} changed within seconds before they were read; the next time they are again")
