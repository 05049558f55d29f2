"""``portsip-async simulate``: a simulated PBX in the foreground, until it is told to stop."""

import asyncio
import shlex
import signal
from contextlib import suppress
from typing import Annotated, Any

import typer

from ..simulator import QUIRKS, Faults, PBXSimulator
from .failures import tell
from .streams import print_line, reader_may_leave

# How the command ends by signal: Ctrl-C interrupts it, a service manager's SIGTERM is its end.
_EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 0}
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def _rate(told: str) -> Any:
    return typer.Option(min=0, max=1, metavar="RATE", help=told)


def simulate(
    *,
    extensions: Annotated[int, typer.Option(min=0, help='From number "100" on.')] = 1000,
    groups: Annotated[int, typer.Option(min=0, help="The default group included.")] = 10,
    token_lifetime: Annotated[float, typer.Option(help="Seconds that a token lives.")] = 30.0,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one.")] = 0,
    seed: Annotated[int, typer.Option(help="What is made up follows from it.")] = 0,
    page_limit: Annotated[
        int | None, typer.Option(min=1, help="The most items a page holds; else no limit.")
    ] = None,
    max_in_flight: Annotated[
        int | None, typer.Option(min=1, help="Requests at once; more are answered 429.")
    ] = None,
    latency: Annotated[float, typer.Option(min=0, help="Seconds each reply is late.")] = 0.0,
    rate_limited: Annotated[float, _rate("Answered 429.")] = 0.0,
    server_error: Annotated[float, _rate("Answered 500 or 503.")] = 0.0,
    html: Annotated[float, _rate("Answered 502 with HTML, as by a proxy.")] = 0.0,
    dropped: Annotated[float, _rate("Connection cut without a reply.")] = 0.0,
    truncated: Annotated[float, _rate("Reply cut short.")] = 0.0,
    revoked: Annotated[float, _rate("Token dies as the request arrives.")] = 0.0,
    quirk: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help=f"May be repeated: {', '.join(QUIRKS)}."),
    ] = None,
) -> None:
    """Run a simulated PBX until Ctrl-C."""
    try:
        simulator = PBXSimulator(
            extensions=extensions,
            groups=groups,
            token_lifetime=token_lifetime,
            page_limit=page_limit,
            faults=Faults(
                latency=latency,
                rate_limited=rate_limited,
                server_error=server_error,
                html=html,
                dropped=dropped,
                truncated=truncated,
                revoked=revoked,
            ),
            seed=seed,
            port=port,
            quirks=quirk or (),
            host=host,
            max_in_flight=max_in_flight,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    raise typer.Exit(asyncio.run(_serve(simulator, token_lifetime)))


async def _serve(simulator: PBXSimulator, token_lifetime: float) -> int:
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[int] = loop.create_future()

    def stop(code: int) -> None:
        if not stopped.done():
            stopped.set_result(code)

    for number, code in _EXIT_CODES.items():
        # Loops on Windows have none; Ctrl-C is a KeyboardInterrupt there, and ends with 130 too.
        with suppress(NotImplementedError):
            loop.add_signal_handler(number, stop, code)
    try:
        await simulator.start()
    except (OSError, UnicodeError) as error:  # the second where a host can't be a name
        where = f"{simulator.host} port {simulator.port}"
        tell(f"can't listen on {where}: {_reason(error)}")
        return 1
    try:
        with reader_may_leave():
            print_line(_greeting(simulator, token_lifetime))
        return await stopped
    finally:
        await simulator.stop()
        with reader_may_leave():
            print_line(f"Stopped after {simulator.served.total()} requests.")


def _reason(error: OSError | UnicodeError) -> str:
    if isinstance(error, UnicodeError):
        return "no such host"
    # asyncio puts a sentence around the reason of a failed bind.
    text = error.strerror or type(error).__name__
    return text.rsplit(": ", 1)[-1]


def _greeting(simulator: PBXSimulator, token_lifetime: float) -> str:
    environment = {
        "PORTSIP_URL": simulator.url,
        "PORTSIP_USERNAME": simulator.username,
        "PORTSIP_PASSWORD": simulator.password,
    }
    if simulator.host not in _LOOPBACK:
        environment["PORTSIP_ALLOW_HTTP"] = "1"
    return "\n".join(
        (
            f"Simulated PBX at {simulator.url}",
            f"  user name  {simulator.username}",
            f"  password   {simulator.password}  (made up, for the simulator only)",
            f"  holds      {len(simulator.extension_numbers)} extensions,"
            f" {len(simulator.group_ids)} groups; a token lives {token_lifetime:g} s",
            "",
            *(f"export {name}={shlex.quote(value)}" for name, value in environment.items()),
            "",
            "Ctrl-C stops it.",
        )
    )
