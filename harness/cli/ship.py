"""The command `harness ship`: a row of a run as a folder that goes to production."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.output import say


def ship(
    run: Annotated[Path, typer.Argument(help="Run folder, or its results.json.", show_default=False)],
    variant: Annotated[str | None, typer.Argument(help="Variant id. Default: the one that the run recommends.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "--out", help="Folder, new or empty. Default: shipped/VARIANT/.")
    ] = None,
) -> None:
    """Write a variant as a folder that runs without the harness: engine, ONNX, program, samples, checksums, model card.

    Nothing is measured or built; the folder's own check is run.
    """
    from harness.shipping import ship as write

    shipped = write(run, variant, output)
    for note in shipped.notes:
        say(note, err=True)
    if shipped.checked:
        say(shipped.checked)
    say(f"shipped: {shipped.folder} ({shipped.row.variant.id})")
