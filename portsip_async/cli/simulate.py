"""``portsip-async simulate``: run a simulated PBX in the foreground until a signal stops it."""

import asyncio
import shlex
import signal
from contextlib import suppress
from typing import Annotated, Any

import typer

from ..simulator import QUIRKS, Faults, PBXSimulator
from .failures import print_error
from .streams import print_line, reader_may_leave

# The exit code for each signal. SIGTERM from a service manager is the normal end.
_EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 0}
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def _rate(text: str) -> Any:
    return typer.Option(min=0, max=1, metavar="RATE", help=text)


def simulate(
    *,
    extensions: Annotated[int, typer.Option(min=0, help='Extensions, from "100" on.')] = 500,
    groups: Annotated[int, typer.Option(min=0, help="Groups, including the default group.")] = 10,
    token_lifetime: Annotated[float, typer.Option(help="Seconds that a token is valid.")] = 30.0,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 chooses a free port.")] = 0,
    seed: Annotated[int, typer.Option(help="The same seed makes the same data.")] = 0,
    page_limit: Annotated[
        int | None, typer.Option(min=1, help="Items per page, at most; by default no limit.")
    ] = None,
    max_in_flight: Annotated[
        int | None, typer.Option(min=1, help="Concurrent requests, at most; further ones get 429.")
    ] = None,
    latency: Annotated[float, typer.Option(min=0, help="Seconds before each reply.")] = 0.0,
    rate_limited: Annotated[float, _rate("Replies with 429.")] = 0.0,
    server_error: Annotated[float, _rate("Replies with 500 or 503.")] = 0.0,
    html: Annotated[float, _rate("Replies with 502 and HTML, as from a proxy.")] = 0.0,
    dropped: Annotated[float, _rate("Connections closed without a reply.")] = 0.0,
    truncated: Annotated[float, _rate("Truncated replies.")] = 0.0,
    revoked: Annotated[float, _rate("Tokens revoked as the request arrives.")] = 0.0,
    quirk: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help=f"A quirk; repeatable: {', '.join(QUIRKS)}."),
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
        # Windows has no handlers. Ctrl-C is a KeyboardInterrupt there, and exits with 130 too.
        with suppress(NotImplementedError):
            loop.add_signal_handler(number, stop, code)
    try:
        await simulator.start()
    except (OSError, UnicodeError) as error:  # UnicodeError: the host is not a valid name
        where = f"{simulator.host} port {simulator.port}"
        print_error(f"can't listen on {where}: {_reason(error)}")
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
    # asyncio puts a sentence in front of the reason.
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
            f"  password   {simulator.password}  (for this simulator only)",
            f"  holds      {len(simulator.extension_numbers)} extensions,"
            f" {len(simulator.group_ids)} groups; a token is valid for {token_lifetime:g} s",
            "",
            *(f"export {name}={shlex.quote(value)}" for name, value in environment.items()),
            "",
            "Ctrl-C stops it.",
        )
    )
