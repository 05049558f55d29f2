"""Options for the pytest runs that tests start."""

from importlib.metadata import entry_points

# Users may not have the other plugins of this environment. Loading them takes about a second.
NO_OTHER_PLUGINS = [
    f"-pno:{name}"
    for name in sorted({point.name for point in entry_points(group="pytest11")})
    if name not in ("asyncio", "portsip_async")
]
