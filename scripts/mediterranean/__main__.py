"""Map the sea level of the Mediterranean: `maps`, `both-ways`, `tracks` and `classical`.

python -m scripts.mediterranean maps --out runs/mediterranean
"""

import click

from scripts.mediterranean import both_ways, classical, maps, tracks


@click.group()
def main() -> None:
    """Learn on maps of the Mediterranean's sea level, and assimilate real tracks."""


main.add_command(maps.main, "maps")
main.add_command(both_ways.main, "both-ways")
main.add_command(tracks.main, "tracks")
main.add_command(classical.main, "classical")

if __name__ == "__main__":
    main()
