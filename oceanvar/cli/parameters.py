"""What options of the shell may be, and the options that several commands share."""

from typing import Any

import click
import numpy as np


def examples(*lines: str) -> str:
    """Text below the options; the backspace keeps click from filling its lines."""
    return "\n".join(["\b", "Examples:", *("  " + line for line in lines)])


class Counts(click.ParamType):
    """Numbers by name: ``time=15,latitude=64``."""

    name = "NAME=N,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, int]:
        """Parse the text of an option; "auto" chooses no number."""
        if value == "auto":
            return {}
        pairs = [pair.split("=") for pair in str(value).split(",")]
        if not all(len(pair) == 2 and pair[0].strip() and pair[1].strip().isdecimal() for pair in pairs):
            self.fail(f"{value!r} is not of the form time=15,latitude=64", param, ctx)
        return {dim.strip(): int(number) for dim, number in pairs}


class Values(click.ParamType):
    """Numbers with decimals by name: ``latitude=60,time=8.5``."""

    name = "NAME=X,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, float]:
        """Parse the text of an option."""
        try:
            pairs = [pair.split("=") for pair in str(value).split(",")]
            return {name.strip(): float(number) for name, number in pairs}
        except ValueError:
            self.fail(f"{value!r} is not of the form latitude=60,time=8.5", param, ctx)


class Texts(click.ParamType):
    """Texts by name: ``sla=ssh,lat=latitude``."""

    name = "NAME=TEXT,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, str]:
        """Parse the text of an option."""
        pairs = [pair.partition("=") for pair in str(value).split(",")]
        if not all(name.strip() and sign and text.strip() for name, sign, text in pairs):
            self.fail(f"{value!r} is not of the form sla=ssh,lat=latitude", param, ctx)
        return {name.strip(): text.strip() for name, _, text in pairs}


class Numbers(click.ParamType):
    """Several numbers: ``-6,36.5,30,46``.

    Parameters
    ----------
    n : int
        How many.
    """

    name = "N,..."

    def __init__(self, n: int) -> None:
        self.n = n

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """Parse the text of an option."""
        try:
            numbers = tuple(float(each) for each in str(value).split(","))
        except ValueError:
            numbers = ()
        if len(numbers) != self.n:
            self.fail(f"{value!r} is not {self.n} numbers with commas between them", param, ctx)
        return numbers


class Days(click.ParamType):
    """First and last day: ``2014-05-15,2014-06-03``."""

    name = "FIRST,LAST"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[np.datetime64, np.datetime64]:
        """Parse the text of an option."""
        try:
            first, last = (np.datetime64(each.strip(), "ns") for each in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not of the form 2014-05-15,2014-06-03", param, ctx)
        return first, last


class Quantity(click.ParamType):
    """A number, or one with units: ``0.02``, ``2 cm``."""

    name = "NUMBER [UNITS]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, str | None]:
        """Parse the text of an option."""
        number, *units = str(value).split(maxsplit=1)
        try:
            return float(number), units[0] if units else None
        except ValueError:
            self.fail(f"{value!r} is neither a number nor one with units, '2 cm'", param, ctx)


class BatchSize(click.ParamType):
    """A number of patches, or "auto"."""

    name = "N|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Parse the text of an option."""
        if value != "auto" and not (str(value).isdecimal() and int(value) > 0):
            self.fail(f"{value!r} is neither a positive number nor auto", param, ctx)
        return value if value == "auto" else int(value)


class Range(click.ParamType):
    """Values that a packed variable can have: ``ssh=-3:3``."""

    name = "NAME=LOW:HIGH"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, float, float]:
        """Parse the text of an option."""
        name, _, limits = str(value).partition("=")
        try:
            low, high = map(float, limits.split(":"))
        except ValueError:
            self.fail(f"{value!r} is not of the form ssh=-3:3", param, ctx)
        return name.strip(), low, high


PATCH_OPTIONS = (
    click.option(
        "--time-units",
        metavar="TEXT",
        help="Units of times that the files do not tell as CF does: 'days since 1900-01-01'.",
    ),
    click.option(
        "--time-from",
        metavar="REGEX|NAME",
        help="Take the one time of a file from its name, '_(\\d{8})_', or from an attribute or a variable without "
        "dimensions: time_coverage_start.",
    ),
    click.option(
        "--group", default="", metavar="NAME", help="Group to read of each file. [default: the root]"
    ),
    click.option(
        "--units",
        type=Texts(),
        help="Units of variables, in place of what the files say: ssh=cm. Names are those of the files or the model.",
    ),
    click.option("--rename", type=Texts(), help="Other names for what the files hold: sla=ssh,lat=latitude."),
    click.option(
        "--variable",
        "variables",
        type=Texts(),
        help="Names in the files of the model's variables: ssh=sla_filtered.",
    ),
    click.option(
        "--device",
        default="auto",
        show_default=True,
        help="auto (a GPU where there is one), cpu, cuda or cuda:1.",
    ),
    click.option(
        "--precision",
        type=click.Choice(["float32", "float64", "bfloat16"]),
        default="float32",
        show_default=True,
        help="Arithmetic of the solver.",
    ),
    click.option(
        "--batch-size",
        type=BatchSize(),
        default="auto",
        show_default=True,
        help="Patches solved at once.",
    ),
    click.option(
        "--periodic",
        multiple=True,
        metavar="DIM",
        help="Dimension that wraps; may be repeated. [default: the model's]",
    ),
    click.option(
        "--overlap",
        type=Counts(),
        metavar="DIM=N,...",
        help="Points shared by neighbouring patches. More is smoother and slower. [default: see --patch]",
    ),
    click.option(
        "--patch",
        type=Counts(),
        metavar="DIM=N,...",
        help="Points of a patch, for the dimensions to choose. [default: the cheapest within 1 % of the error of the "
        "model's own, where its file says so, else these]",
    ),
    click.option(
        "--gaps",
        type=click.Choice(["fill", "refuse"]),
        default="fill",
        show_default=True,
        help="Whether times that are missing in a regular series are mapped as times without observations.",
    ),
    click.option(
        "--on-divergence",
        type=click.Choice(["error", "fallback", "nan"]),
        default="error",
        show_default=True,
        help="What becomes of a patch whose solve has diverged: end with an error, put the first guess or NaN there.",
    ),
    click.option(
        "--along-track",
        nargs=2,
        multiple=True,
        metavar="INSTRUMENT FILE",
        help="Samples of an along-track instrument of the model, NetCDF or Zarr; may be repeated.",
    ),
    click.option(
        "--source",
        multiple=True,
        metavar="OBS",
        help="Files of one source of several on the same grid, instead of OBS; repeat it, they are averaged.",
    ),
    click.option("-m", "--model", required=True, help="Model file, or the name of a packaged model."),
)
"""The last one is the first that the help shows."""


def patch_options(command: Any) -> Any:
    """Options of the commands that read an archive and cut it into patches."""
    for option in PATCH_OPTIONS:
        command = option(command)
    return command
