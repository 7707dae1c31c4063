"""`python -m fairseq_gradinit.probes SAVE_DIR`: what the probes of a run saw, drawn.

Gradient norm and update size of every weight matrix, token spread and attention entropy of every
layer, over updates, so that a layer that is not like the others shows at a glance.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..files import FileError, replacing
from .record import read_records, records_path

FORMATS = ("html", "svg", "png")


def main(arguments: list[str] | None = None) -> int:
    """Draws a run's probes.jsonl. Returns the exit code; an error is one line."""
    parser = argparse.ArgumentParser(prog="fairseq_gradinit.probes", description=__doc__)
    parser.add_argument("save_dir", type=Path, help="the --save-dir of a run")
    parser.add_argument("--to", type=Path, help="folder to write to (default: SAVE_DIR/gradinit)")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        action="append",
        help=f"one or more of {', '.join(FORMATS)} (default: all)",
    )
    options = parser.parse_args(arguments)
    try:
        draw(options.save_dir, options.to, options.format or FORMATS)
    except FileError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def draw(save_dir: Path, to: Path | None, formats: tuple[str, ...] | list[str]) -> None:
    """Writes probes.html, .svg and .png and prints their paths.

    The page needs no network: it carries what draws it.

    Raises:
        FileError: there is no record, or a file cannot be read or written.
    """
    source = records_path(save_dir)
    if not source.exists():
        raise FileError(
            f"{source}: not there; train with --user-dir fairseq_gradinit --gradient-flow-interval "
            "50, and give that run's --save-dir"
        )
    records = read_records(source)
    if not records:
        raise FileError(f"{source}: has no record yet; wait for the first probed update")
    try:
        import vl_convert

        from .charts import page
    except ImportError as error:
        raise FileError(
            f"drawing needs the module {error.name}; pip install altair vl-convert-python"
        ) from error
    chart = page(records, f"{save_dir.resolve().name}: updates 1 to {records[-1].update}")
    made = {
        "html": lambda: chart.to_html(inline=True).encode(),
        "svg": lambda: vl_convert.vegalite_to_svg(chart.to_json()).encode(),
        "png": lambda: vl_convert.vegalite_to_png(chart.to_json(), scale=1.5),
    }
    for name in formats:
        path = (to or source.parent) / f"probes.{name}"
        with replacing(path, "wb") as file:
            file.write(made[name]())
        print(path)


if __name__ == "__main__":
    sys.exit(main())
