"""`edgezsad device kit BOARD`, `device ingest RESULT` and `device status`."""

from pathlib import Path
from typing import Annotated

import typer

device_app = typer.Typer(help="Boards: write a kit, ingest its result.", no_args_is_help=True)

Config = Annotated[Path, typer.Option(help="Profile whose run is read.")]


@device_app.command()
def kit(
    board: Annotated[str, typer.Argument(help="jetson or rb5.")],
    config: Config = Path("configs/mini.yaml"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the model.")] = 0,
    targets: Annotated[list[str] | None, typer.Option(help="Targets, separated by commas; default: all.")] = None,
    images_per_target: Annotated[
        int | None, typer.Option(min=1, help="About so many, evenly spread over categories and labels; default: all.")
    ] = None,
    dlc: Annotated[Path | None, typer.Option(help="For the RB5: the model as a DLC.")] = None,
    expanded: Annotated[bool, typer.Option("--expanded", help="Raw images: four times as large.")] = False,
    output: Annotated[
        Path | None, typer.Option(help="A new folder, or an archive NAME.tar.", show_default="RUN/kits/NAME.tar")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Write it even if it seems not to fit.")] = False,
) -> None:
    """Write all that a board needs to repeat the device experiment; size and time are printed first."""
    from edgezsad.devices import find_board
    from edgezsad.devices.kit import make_kit
    from edgezsad.run import open_run

    chosen = tuple(name for text in targets or [] for name in text.split(",") if name)
    options = (seed, chosen, images_per_target, dlc, expanded, output, yes, typer.echo)
    path = make_kit(open_run(config), find_board(board), *options)
    typer.echo(f"{path}: copy it to the board{' and unpack it' if path.suffix == '.tar' else ''}; there: sh run.sh")


@device_app.command("ingest")
def ingest_result(
    result: Annotated[Path, typer.Argument(help="The archive that run.sh packed on the board.")],
    config: Config = Path("configs/mini.yaml"),
    output: Annotated[Path | None, typer.Option(help="A folder.", show_default="RUN/boards/BOARD")] = None,
    timing: Annotated[
        Path | None, typer.Option(help="For the RB5: CSV or text that qnn-profile-viewer made of the board's log.")
    ] = None,
) -> None:
    """Turn a board's result into score files and a latency record; exit code 1 if a part of it is rejected."""
    from edgezsad.devices.ingest import ingest
    from edgezsad.run import open_run

    done = ingest(result, open_run(config), output, timing)
    typer.echo(done.as_text())
    done.require_all()


@device_app.command()
def status(config: Config = Path("configs/mini.yaml")) -> None:
    """List what was ingested from each board, and what is missing."""
    from edgezsad.devices.ingest import device_status
    from edgezsad.run import open_run

    for line in device_status(open_run(config)):
        typer.echo(line)
