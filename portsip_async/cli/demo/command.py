"""``portsip-async demo``: watch the SDK work with a PBX that fails on purpose, and count.

The simulated PBX and the SDK run in one process, over a socket of this machine. What happens is
printed step by step; at the end both sides' counts are laid side by side. Exit code 1 if a step
failed or a count is wrong.
"""

import asyncio
import sys
from dataclasses import dataclass
from time import monotonic
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ... import PortSIPClient, PortSIPError, RetryPolicy
from ...simulator import Faults, PBXSimulator
from ..output import console as make_console
from ..signals import steps_aside
from ..streams import unguarded
from .ledger import Ledger, wrong
from .lives import ExtensionLife, GroupLife
from .many import Provisioning
from .reading import Lists, Poll
from .stage import Chapter, Stage, Step, Wrong
from .watching import Watching

# About one request in twelve meets one of them. No tokens die by rate: a call is replayed once
# only, and with many calls at once a second token might die under the replay.
_FAULTS = Faults(
    latency=0.02, rate_limited=0.02, server_error=0.02, html=0.01, dropped=0.015, truncated=0.015
)
_WIDTH = 80  # columns in a pipe
# Where one in twelve fails, four in a row do so once in 20,000 calls, eight in 400 million.
_RETRY = RetryPolicy(attempts=8)
_IN_FLIGHT = 16  # calls; so many are rejected at once where all tokens were revoked before
_NEXT = (
    ("portsip-async simulate", "such a PBX, well behaved, for your own code"),
    ("the README's ten lines", "a first program, to run against it"),
    ("portsip-async demo --seed 7", "other people, other faults, same outcome"),
)


@dataclass(frozen=True, slots=True)
class Setting:
    """What the demo plays with.

    Attributes:
        extensions: how many the PBX holds, 3 at least.
        token_lifetime: seconds that an access token lives.
        seed: the people that are made up, and the faults, follow from it.
        faults: how often what goes wrong.
        batch: numbers in a status request.
        watched: how many extensions are watched; as many as there are, if that is less.
        interval: seconds between two cycles of the watch.
        downtime: seconds that the PBX is away while it restarts; two intervals at least.
        provisioned: how many extensions are created and removed in one go.
    """

    extensions: int = 5000
    token_lifetime: float = 2.0
    seed: int = 0
    faults: Faults = _FAULTS
    batch: int = 100
    watched: int = 300
    interval: float = 0.25
    downtime: float = 1.0
    provisioned: int = 500


def demo(
    *,
    extensions: Annotated[int, typer.Option(min=3, help="How many the PBX holds.")] = 5000,
    token_lifetime: Annotated[
        float, typer.Option(min=0.5, help="Seconds that a token lives.")
    ] = 2.0,
    seed: Annotated[int, typer.Option(help="Other people, other faults.")] = 0,
) -> None:
    """Watch the SDK work with a PBX that fails on purpose."""
    setting = Setting(extensions=extensions, token_lifetime=token_lifetime, seed=seed)
    console = make_console(markup=True, width_of_pipe=_WIDTH)
    with steps_aside(unguarded(sys.stdout)):
        code = asyncio.run(run(console, setting))
    raise typer.Exit(code)


async def run(console: Console, setting: Setting) -> int:
    """Play the demo, print it, and answer its exit code."""
    began = monotonic()
    ledger = Ledger()
    async with (
        PBXSimulator(
            extensions=setting.extensions,
            token_lifetime=setting.token_lifetime,
            faults=setting.faults,
            seed=setting.seed,
        ) as sim,
        PortSIPClient(
            sim.url,
            username=sim.username,
            password=sim.password,
            retry=_RETRY,
            max_connections=_IN_FLIGHT,
            on_attempt=ledger,
        ) as pbx,
    ):
        _introduce(console, setting, sim)
        stage = Stage(pbx, sim, ledger)
        watching = Watching(
            stage,
            watched=setting.watched,
            interval=setting.interval,
            batch=setting.batch,
            downtime=setting.downtime,
        )
        async with watching.watch:
            failed = await _perform(
                console,
                Lists(stage).chapter(),
                ExtensionLife(stage).chapter(),
                GroupLife(stage).chapter(),
                Poll(stage, batch=setting.batch, in_flight=_IN_FLIGHT).chapter(),
                watching.chapter(),
                Provisioning(stage, count=setting.provisioned, in_flight=_IN_FLIGHT).chapter(),
            )
        found = wrong(ledger, sim)
        _counts(console, ledger, sim)
        _faults(console, ledger, sim)
        _conclude(console, stage, monotonic() - began)
    if failed is not None:
        found.append(failed)
    return _verdict(console, found)


def _introduce(console: Console, setting: Setting, sim: PBXSimulator) -> None:
    faults = setting.faults
    console.print(
        f"A simulated PBX with {setting.extensions:,} extensions listens at {sim.url}. It is a bad"
        f" one on purpose: its access tokens die after {setting.token_lifetime:g} s, every reply"
        f" comes {faults.latency * 1000:g} ms late, and about one request in twelve is refused,"
        " fails, or has its reply cut off. Below, portsip_async works with it.",
    )


async def _perform(console: Console, *chapters: Chapter) -> str | None:
    """Run the steps, a line each; answer what ended them before the last, if anything did."""
    width = max(len(step.title) for chapter in chapters for step in chapter.steps)
    for chapter in chapters:
        console.print(f"\n[bold]{chapter.title}[/]")
        for step in chapter.steps:
            failed = await _take(console, step, width)
            if failed is not None:
                return f"{chapter.title}, {step.title}: {failed}"
    return None


async def _take(console: Console, step: Step, width: int) -> str | None:
    """Run a step and print its line; answer why it failed, if it did."""
    began = monotonic()
    failed = None
    try:
        # Shown on a terminal only, and gone when the step is through.
        with console.status(step.title, spinner="line"):
            told = await step.run()
    except (PortSIPError, Wrong) as error:
        failed = told = str(error)
    line = Table.grid(padding=(0, 1), expand=True)
    line.add_column(width=width)
    line.add_column(ratio=1)
    line.add_column(justify="right", no_wrap=True)
    style = "red" if failed is not None else ""
    seconds = f"{monotonic() - began:.2f} s"
    line.add_row(Text(step.title), Text(told, style=style), Text(seconds, style="dim"))
    console.print(Padding(line, (0, 0, 0, 2)))
    return failed


def _counts(console: Console, ledger: Ledger, sim: PBXSimulator) -> None:
    """Lay both sides' counts side by side."""
    console.print("\n[bold]Every request, counted on both sides[/]")
    told = (
        "Sent and answered as the SDK saw it, received and carried out as the PBX counted it."
        " What was carried out and not answered had its reply cut off."
    )
    if ledger.cut:
        told += (
            f" The restart cut {_many(ledger.cut, 'request')}: each may have been received and"
            " carried out, or not, so the two sides may differ by so many."
        )
    console.print(told)
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("operation")
    for name in ("sent", "cut", "received", "carried out", "answered"):
        table.add_column(name, justify="right")
    table.add_column("")
    for row in ledger.rows(sim):
        counts = (row.received, row.carried_out, row.answered)
        table.add_row(
            row.operation,
            f"{row.sent:,}",
            f"{row.cut:,}" if row.cut else "",
            *(f"{count:,}" for count in counts),
            _mark(row.right),
        )
    console.print(table)


def _faults(console: Console, ledger: Ledger, sim: PBXSimulator) -> None:
    """Lay the faults that the PBX showed beside those that the SDK met."""
    console.print("[bold]What went wrong on purpose[/]")
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("fault")
    table.add_column("caused", justify="right")
    table.add_column("met", justify="right")
    table.add_column("what the SDK did")
    table.add_column("")
    for trouble in ledger.troubles(sim):
        caused = "" if trouble.caused is None else f"{trouble.caused:,}"
        table.add_row(
            trouble.name, caused, f"{trouble.met:,}", trouble.remedy, _mark(trouble.right)
        )
    console.print(table)


def _mark(right: bool) -> Text:
    return Text("ok", style="green") if right else Text("WRONG", style="bold red")


def _conclude(console: Console, stage: Stage, seconds: float) -> None:
    """Say what it comes to."""
    ledger, injected = stage.ledger, stage.sim.injected.total()
    lines = (
        f"{ledger.sent:,} requests in {seconds:.1f} s, {injected:,} of them met by a fault; while"
        f" the PBX was away, {ledger.unsent:,} more found no connection, and never arrived.",
        f"Tokens: {_many(ledger.logins, 'login')}, {_many(ledger.renewals, 'renewal')};"
        f" the PBX forgot all of them {_many(stage.revoked, 'time')}."
        f" {_many(ledger.replayed, 'request')} rejected for a dead token, and sent again.",
        f"Writes in doubt: {stage.in_doubt}, looked up or left alone; none was repeated blindly.",
    )
    for line in lines:
        console.print(line)


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _verdict(console: Console, found: list[str]) -> int:
    """Say whether everything is accounted for, and what to do next; answer the exit code."""
    if found:
        console.print("\n[bold red]Not everything is accounted for:[/]")
        for text in found:
            console.print(Padding(Text(text), (0, 0, 0, 2)))
        return 1
    console.print("\n[bold green]Everything is accounted for, nothing was lost.[/]")
    console.print("\n[bold]What to try next[/]")
    table = Table.grid(padding=(0, 2))
    for command, told in _NEXT:
        table.add_row(Text(command), Text(told))
    console.print(Padding(table, (0, 0, 0, 2)))
    return 0
