"""``portsip-async simulate``: run a simulated PBX in the foreground until a signal stops it."""

import asyncio
import shlex
import signal
from collections.abc import Iterator
from contextlib import suppress
from enum import StrEnum
from typing import Annotated, Any, Final

import typer

from ..simulator import QUIRKS, Faults, PBXSimulator
from .failures import print_error
from .pbx.generation import Api
from .terminal.streams import print_line, reader_may_leave

# The exit code for each signal. SIGTERM from a service manager is the normal end.
_EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 0}
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_TITLES: Final = {Api.CLASSIC: "the classic generation", Api.V22: "generation v22"}
_MODULES: Final = {Api.CLASSIC: "portsip_async", Api.V22: "portsip_async.v22"}
_LOGIN: Final = {
    Api.CLASSIC: ("username", "password"),
    Api.V22: ("username", "password", "domain"),
}
_OTP_INTERVAL: Final = 0.1  # seconds between two looks for a new one-time password


class Generations(StrEnum):
    """Which generations of the API to serve."""

    BOTH = "both"
    CLASSIC = "classic"
    V22 = "v22"

    @property
    def served(self) -> tuple[Api, ...]:
        """The generations; the first one is what the printed variables choose."""
        return (Api.V22, Api.CLASSIC) if self is Generations.BOTH else (Api(self),)


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
    generations: Annotated[
        Generations, typer.Option(help="Which generations of the API to serve.")
    ] = Generations.BOTH,
    domain: Annotated[
        str, typer.Option(metavar="NAME", help="The SIP domain of the tenant, in v22.")
    ] = "test.io",
    second_factor: Annotated[
        bool,
        typer.Option(
            "--second-factor",
            help="Logins to v22 need a one-time password too, which is printed here.",
        ),
    ] = False,
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
    """Run a simulated PBX until Ctrl-C.

    It serves both generations of the API on one port, with the same extensions. It prints the lines
    to paste into another terminal or into a program.
    """
    if second_factor and Api.V22 not in generations.served:
        raise typer.BadParameter("--second-factor needs generation v22")
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
            generations=generations.served,
            domain=domain,
            second_factor=second_factor,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    raise typer.Exit(
        asyncio.run(_serve(simulator, generations.served, token_lifetime, second_factor))
    )


async def _serve(
    simulator: PBXSimulator,
    generations: tuple[Api, ...],
    token_lifetime: float,
    second_factor: bool,
) -> int:
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
    printer = asyncio.create_task(_print_otps(simulator)) if second_factor else None
    try:
        with reader_may_leave():
            print_line("\n".join(_greeting(simulator, generations, token_lifetime)))
        return await stopped
    finally:
        if printer is not None:
            printer.cancel()
        await simulator.stop()
        with reader_may_leave():
            total = simulator.served.total() + simulator.v22.served.total()
            print_line(f"Stopped after {total} {'request' if total == 1 else 'requests'}.")


async def _print_otps(simulator: PBXSimulator) -> None:
    """Print each one-time password, as if the simulator had sent it to the user."""
    printed = None
    while True:
        if simulator.v22.otp != printed:
            printed = simulator.v22.otp
            with reader_may_leave():
                print_line(f"One-time password: {printed}")
        await asyncio.sleep(_OTP_INTERVAL)


def _reason(error: OSError | UnicodeError) -> str:
    if isinstance(error, UnicodeError):
        return "no such host"
    # asyncio puts a sentence in front of the reason.
    text = error.strerror or type(error).__name__
    return text.rsplit(": ", 1)[-1]


def _greeting(
    simulator: PBXSimulator, generations: tuple[Api, ...], token_lifetime: float
) -> Iterator[str]:
    """Yield the lines that say how to reach the simulator."""
    is_remote = simulator.host not in _LOOPBACK
    yield f"Simulated PBX at {simulator.url}"
    yield f"  user name  {simulator.username}"
    yield f"  password   {simulator.password}  (for this simulator only)"
    if Api.V22 in generations:
        yield f"  domain     {simulator.domain}"
    yield (
        f"  holds      {len(simulator.extension_numbers)} extensions,"
        f" {len(simulator.group_ids)} groups; a token is valid for {token_lifetime:g} s"
    )
    yield f"  speaks     {' and '.join(_TITLES[api] for api in generations)}"
    # For the command line, and for `from_env` of the clients.
    environment = {
        "PORTSIP_URL": simulator.url,
        "PORTSIP_USERNAME": simulator.username,
        "PORTSIP_PASSWORD": simulator.password,
        "PORTSIP_DOMAIN": simulator.domain,
        "PORTSIP_API": str(generations[0]),
    }
    if is_remote:
        environment["PORTSIP_ALLOW_HTTP"] = "1"
    yield ""
    for name, value in environment.items():
        yield f"export {name}={shlex.quote(value)}"
    # For programs.
    for api in generations:
        arguments = [repr(simulator.url)]
        arguments += [f"{name}={getattr(simulator, name)!r}" for name in _LOGIN[api]]
        arguments += ["allow_http=True"] if is_remote else []
        yield ""
        yield f"# Python, {_TITLES[api]}"
        yield f"from {_MODULES[api]} import PortSIPClient"
        yield f"pbx = PortSIPClient({', '.join(arguments)})"
    yield ""
    yield "Ctrl-C stops it."
