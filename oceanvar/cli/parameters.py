"""What options of the shell may be."""

from typing import Any

import click


class Counts(click.ParamType):
    """Numbers by name: ``time=15,latitude=64``."""

    name = "NAME=N,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, int]:
        """Parse the text of an option."""
        pairs = [pair.split("=") for pair in str(value).split(",")]
        if not all(len(pair) == 2 and pair[0].strip() and pair[1].strip().isdecimal() for pair in pairs):
            self.fail(f"{value!r} is not of the form time=15,latitude=64", param, ctx)
        return {dim.strip(): int(number) for dim, number in pairs}


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
