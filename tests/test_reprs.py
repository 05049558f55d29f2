"""The reprs of public objects, as a REPL shows them."""

import inspect
from collections.abc import Iterator
from typing import Any, is_typeddict

import pytest

import portsip_async
from portsip_async import PortSIPClient, simulator, telemetry, v22
from portsip_async.simulator import PBXSimulator


def public_classes() -> Iterator[Any]:
    """Yield every public class, and those of the clients' resources."""
    found: dict[str, type] = {}
    for module in (portsip_async, v22, simulator, telemetry):
        for name in module.__all__:
            kind = getattr(module, name)
            if inspect.isclass(kind) and kind.__module__.startswith("portsip_async."):
                found[f"{module.__name__}.{name}"] = kind
    for package, client in (("classic", PortSIPClient), ("v22", v22.PortSIPClient)):
        for name, resource in vars(client("http://localhost", username="a", password="b")).items():
            if not name.startswith("_"):
                found[f"{package}.{name}"] = type(resource)
    # A TypedDict and a Protocol have no objects of their own.
    for name, kind in found.items():
        if not is_typeddict(kind) and not getattr(kind, "_is_protocol", False):
            yield pytest.param(kind, id=name)


@pytest.mark.parametrize("kind", [*public_classes()])
def test_public_class_has_a_repr_of_its_own(kind: type) -> None:
    """An address in memory says nothing."""
    assert vars(object)["__repr__"] is not kind.__repr__


async def test_repr_shows_the_state() -> None:
    async with (
        PBXSimulator(extensions=250) as sim,
        PortSIPClient(sim.url, username=sim.username, password=sim.password) as pbx,
    ):
        assert repr(pbx) == f"<PortSIPClient {sim.url}/api>"
        assert repr(pbx.account) == f"<Account of {sim.url}/api>"
        walk = pbx.extensions.list(page=2, page_size=50)
        assert repr(walk) == "<Paginator page=2, page_size=50>"
        async with walk:
            async for _ in walk:
                assert repr(walk) == "<Paginator page=2, page_size=50, running>"
                break
        assert repr(walk) == "<Paginator page=2, page_size=50>"
        poll = pbx.extensions.poll_status(["100", "101"], concurrency=2)
        assert [result async for result in poll]
        assert repr(poll) == "<StatusPoll requests=1, retries=0, concurrency=2, batch_size=100>"
        async with pbx.extensions.watch_status(["100", "101"]) as watch:
            assert repr(watch) == "<StatusWatch extensions=0, cycles=0, failures=0>"
            async for _ in watch:
                assert repr(watch) == "<StatusWatch extensions=1, cycles=1, failures=0, running>"
                break
        run = pbx.extensions.show_many(["100"])
        assert repr(run) == "<BulkRun concurrency=8, in_doubt=0>"
        async for result in run:
            assert result.value is not None
            assert (result.value.password or "?") not in repr(result)
        shown = [repr(each) for each in vars(pbx).values()]
    assert sim.password not in "".join(shown)
    assert repr(pbx) == f"<PortSIPClient {sim.url}/api, closed>"
