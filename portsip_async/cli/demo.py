"""``portsip-async demo``: the SDK at work with a simulated PBX that fails on purpose.

The PBX and the SDK run in one process and talk over a local socket. In the end the requests that
the SDK sent are compared with those that the PBX received. The exit code is 1 if a step failed or
the two sides disagree.
"""

import asyncio
import sys
from collections.abc import Iterator
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Column, Table

from .. import ENDPOINTS, PortSIPClient, RetryPolicy
from ..simulator import Faults, PBXSimulator
from .demo_steps import CONCURRENCY, Failed, Steps, Traffic
from .output import console as make_console
from .signals import suspendable
from .streams import unguarded

# About one request in twelve fails. No rate revokes tokens: the SDK repeats a request with a
# rejected token only once, and the next token might be revoked as well.
_FAULTS = Faults(
    latency=0.02, rate_limited=0.02, server_error=0.02, html=0.01, dropped=0.015, truncated=0.015
)
_RETRY = RetryPolicy(attempts=8)  # with these faults, all eight fail once in 400 million calls
_PIPE_WIDTH = 80  # columns, where the output is not a terminal


def demo(
    *,
    extensions: Annotated[int, typer.Option(min=3, help="How many the PBX holds.")] = 5000,
    token_lifetime: Annotated[
        float, typer.Option(min=0.5, help="Seconds that a token lives.")
    ] = 2.0,
    seed: Annotated[int, typer.Option(help="Other people, other faults.")] = 0,
) -> None:
    """Watch the SDK work with a PBX that fails on purpose."""
    sim = PBXSimulator(extensions, token_lifetime=token_lifetime, faults=_FAULTS, seed=seed)
    console = make_console(markup=True, width_of_pipe=_PIPE_WIDTH)
    with suspendable(unguarded(sys.stdout)):
        code = asyncio.run(run(console, sim))
    raise typer.Exit(code)


async def run(
    console: Console,
    sim: PBXSimulator,
    *,
    created: int = 500,
    watched: int = 300,
    interval: float = 0.25,
    downtime: float = 1.0,
) -> int:
    """Start the PBX, run the steps, print the outcome, and return the exit code.

    Args:
        console: where to print.
        sim: the PBX, with 3 extensions or more.
        created: extensions to create and remove in bulk, 2 or more.
        watched: extensions to watch.
        interval: seconds between two cycles of the watch.
        downtime: seconds that a restart takes; two intervals or more.
    """
    traffic, problems = Traffic(), list[str]()
    async with (
        sim,
        PortSIPClient(
            sim.url,
            username=sim.username,
            password=sim.password,
            retry=_RETRY,
            max_connections=CONCURRENCY,
            on_attempt=traffic,
        ) as pbx,
    ):
        console.print(
            f"A simulated PBX with {len(sim.extension_numbers):,} extensions listens at {sim.url}."
            " It fails on purpose: its tokens soon expire, and about one request in twelve is"
            " refused or loses its reply."
        )
        steps = Steps(console, sim, pbx, traffic, created)
        try:
            await steps.lists()
            await steps.extension()
            await steps.group()
            await steps.poll()
            await steps.watch(watched, interval, downtime)
            await steps.bulk()
        except Failed as failed:
            problems.append(str(failed))
        problems += compare(console, sim, traffic)
    if problems:
        console.print("\n[bold red]Something was lost:[/]")
        console.print("\n".join(problems), markup=False)
        return 1
    console.print("\n[bold green]Nothing was lost.[/]\n\nWhat to try next:")
    console.print("  portsip-async simulate       a simulated PBX for your own code")
    console.print("  portsip-async demo --seed 7  other people, other faults, same outcome")
    return 0


def compare(console: Console, sim: PBXSimulator, traffic: Traffic) -> Iterator[str]:
    """Print the counts of both sides, and yield a line for each difference."""
    columns = (Column(name, justify="right") for name in ("sent", "received"))
    table = Table("operation", *columns, "", box=box.SIMPLE_HEAD)
    for name in ENDPOINTS:
        sent, cut, received = traffic.sent[name], traffic.cut[name], sim.served[name]
        if sent or received:
            agree = sent - cut <= received <= sent
            mark = "[green]ok[/]" if agree else "[bold red]WRONG[/]"
            table.add_row(name, f"{sent:,}", f"{received:,}", mark)
            if not agree:
                yield f"{name}: {sent} sent, {cut} of them cut by the restart, {received} received"
    console.print("\n[bold]Requests that the SDK sent and the PBX received[/]", table)
    kinds = ", ".join(f"{count} {kind}" for kind, count in sim.injected.most_common())
    cut, injected, met = traffic.cut.total(), sim.injected.total(), traffic.faults
    # A request that the restart cut counts as a fault met; the PBX may have injected one, too.
    if not met - cut <= injected <= met:
        yield f"faults: {injected} injected, {met} met, {cut} requests cut by the restart"
    console.print(
        f"Faults: {injected} injected ({kinds.replace('_', ' ')}), {met} met.\n"
        f"Restart: {cut} requests cut off, {traffic.not_connected} attempts without a connection.\n"
        f"Tokens: {traffic.succeeded['account.verify']} logins,"
        f" {traffic.succeeded['account.refresh']} renewals,"
        f" {sim.rejected.total()} requests rejected for a dead token."
    )
