"""`edgezsad device kit BOARD`, `device ingest RESULT` and `device status`."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

device_app = typer.Typer(help="The boards: a kit to take to one, and its result.", no_args_is_help=True)

Config = Annotated[Path, typer.Option(help="The profile whose run is read.")]


@device_app.command()
def kit(
    board: Annotated[str, typer.Argument(help="jetson or rb5.")],
    config: Config = Path("configs/mini.yaml"),
    seed: Annotated[int, typer.Option(min=0, help="Whose model.")] = 0,
    targets: Annotated[list[str] | None, typer.Option(help="A target, or several between commas; else all.")] = None,
    images_per_target: Annotated[
        int | None, typer.Option(min=1, help="About so many, evenly spread over categories and labels; else all.")
    ] = None,
    dlc: Annotated[Path | None, typer.Option(help="For the RB5: the model as a DLC that was made elsewhere.")] = None,
    expanded: Annotated[bool, typer.Option("--expanded", help="Raw images: four times as large.")] = False,
    output: Annotated[
        Path | None, typer.Option(help="A folder, or an archive NAME.tar.", show_default="RUN/kits/NAME.tar")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Write it even where it seems not to fit.")] = False,
) -> None:
    """Write all that a board needs to repeat the device experiment; its size is printed beforehand."""
    from edgezsad.devices.boards import board as find_board
    from edgezsad.devices.kit.plan import plan_kit, require_space
    from edgezsad.devices.kit.write import check_output, write_kit
    from edgezsad.run import open_run

    run = open_run(config)
    chosen = tuple(name for text in targets or [] for name in text.split(",") if name)
    with tempfile.TemporaryDirectory(prefix="edgezsad-kit-") as scratch:
        plan = plan_kit(run, find_board(board), seed, chosen, images_per_target, dlc, expanded, Path(scratch))
        place = output or run.folder / "kits" / f"{plan.name}.tar"
        check_output(place)
        typer.echo(plan.as_text())
        require_space(plan, place, yes)
        write_kit(plan, place)
    typer.echo(f"{place}: copy it to the board{' and unpack it' if place.suffix == '.tar' else ''}; there: sh run.sh")


@device_app.command()
def ingest(
    result: Annotated[Path, typer.Argument(help="The archive that run.sh packed on the board.")],
    config: Config = Path("configs/mini.yaml"),
    output: Annotated[Path | None, typer.Option(help="A folder.", show_default="RUN/boards/BOARD")] = None,
    timing: Annotated[
        Path | None, typer.Option(help="For the RB5: CSV or text that qnn-profile-viewer made of the board's log.")
    ] = None,
) -> None:
    """Turn a board's result into score files and a latency record; exit code 1 if a part of it is refused."""
    from edgezsad.devices.ingest.take import ingest as take
    from edgezsad.run import open_run

    taken = take(result, open_run(config), output, timing)
    typer.echo(taken.as_text())
    taken.require_all()


@device_app.command("status")
def show_status(config: Config = Path("configs/mini.yaml")) -> None:
    """List what has been ingested, and what has not."""
    from edgezsad.devices.status import status
    from edgezsad.run import open_run

    for line in status(open_run(config)):
        typer.echo(line)
