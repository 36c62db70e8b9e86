"""Where a setting that decides about a delivery stands, by the key that people know it by."""

from __future__ import annotations

from postroad.config.model import Config
from postroad.config.places import KeyPath

DEFAULT = "default"


def origin_of(config: Config, key: str, route: str) -> str:
    """ "file:line" of `key` as it holds for the route of that name; "default" where nobody set it.

    "limits.X" is X of the route, else of [delivery]; "route.X" is X of the route alone; all
    else is the key itself.
    """
    table, _, name = key.partition(".")
    paths: list[KeyPath] = []
    n = next((n for n, each in enumerate(config.routes) if each.name == route), None)
    if table in ("limits", "route") and n is not None:
        paths.append(("route", n, name) if name else ("route", n))
    if table == "limits":
        paths.append(("delivery", name))
    elif table != "route":
        paths.append((table, name) if name else (table,))
    place = config.places.first_of(*paths)
    return DEFAULT if place is None else str(place)
