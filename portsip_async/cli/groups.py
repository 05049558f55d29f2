"""``portsip-async groups``: work with extension groups."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Annotated, Any

import msgspec
import typer

from .. import Paginator
from .command_group import CommandGroup
from .connection.connection import Connection
from .failures import print_error, print_note
from .listing import OrderBy, Paging, SortBy, write_list
from .options import Yes, confirm, spread
from .output import Output
from .pbx.generation import PBX
from .profiles.all_profiles import Connections
from .terminal.progress import Progress, progress

groups: typer.Typer = typer.Typer(
    cls=CommandGroup,
    name="groups",
    add_completion=False,
    help="Work with extension groups.",
    no_args_is_help=True,
)

GroupName = Annotated[
    str, typer.Argument(metavar="NAME", help="The group's name, or its id as 'list' shows it.")
]
Member = Annotated[
    list[str] | None,
    typer.Option("--member", metavar="NUMBER", help="A member's extension number; repeatable."),
]
Description = Annotated[str | None, typer.Option(metavar="TEXT", help="The group's description.")]
# These three are settings of the classic generation.
Intercom = Annotated[
    bool | None,
    typer.Option(
        "--intercom/--no-intercom", help="Whether members may use the intercom; classic only."
    ),
]
ExternalCalls = Annotated[
    bool | None,
    typer.Option(
        "--external-calls/--no-external-calls",
        help="Whether members may call external numbers; classic only.",
    ),
]
Console = Annotated[
    bool | None,
    typer.Option(
        "--console/--no-console",
        help="Whether members may use the management console, which new ones may not; classic"
        " only.",
    ),
]


@groups.command("list")
@spread
def list_(
    *,
    paging: Paging,
    sort_by: SortBy = None,
    order_by: OrderBy = None,
    connection: Connections,
    output: Output,
) -> None:
    """List all groups."""

    def walk(pbx: PBX, expression: str | None) -> Paginator[Any]:
        options = {"sort_by": sort_by, "filter": expression, "order_by": order_by}
        return pbx.groups(paging.pages, options)

    write_list(connection, output, paging, connection.kind.group_summary, walk)


@groups.command()
@spread
def show(group: GroupName, *, connection: Connections, output: Output) -> None:
    """Show a group's settings and members."""

    async def work(pbx: PBX) -> msgspec.Struct:
        return await pbx.show_group(await pbx.group_id(group))

    connection.show(output, connection.kind.group, work)


@groups.command()
@spread
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The group's name.")],
    *,
    intercom: Intercom = None,
    external_calls: ExternalCalls = None,
    console: Console = None,
    description: Description = None,
    member: Member = None,
    connection: Connection,
    output: Output,
) -> None:
    """Create a group, and show its id.

    Example: portsip-async groups create Sales --member 101 --member 102 --no-external-calls
    """
    output.check(connection.kind.created_group)
    options = {"intercom": intercom, "external_calls": external_calls, "console": console}
    created = connection.run(
        lambda pbx: pbx.create_group(name, description, member or None, options)
    )
    output.show(created)


@groups.command()
@spread
def update(
    group: GroupName,
    *,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="The new name.")] = None,
    intercom: Intercom = None,
    external_calls: ExternalCalls = None,
    console: Console = None,
    description: Description = None,
    member: Annotated[
        list[str] | None,
        typer.Option(
            "--member", metavar="NUMBER", help="A member; replaces all members; repeatable."
        ),
    ] = None,
    add: Annotated[
        list[str] | None, typer.Option("--add", metavar="NUMBER", help="Add a member; repeatable.")
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option("--drop", metavar="NUMBER", help="Remove a member; repeatable."),
    ] = None,
    connection: Connection,
) -> None:
    """Change some of a group's settings or members.

    Other settings and members stay as they are.

    Example: portsip-async groups update Sales --name Support --add 103 --drop 101
    """
    options = {"intercom": intercom, "external_calls": external_calls, "console": console}
    members = member or None
    changed = any(each is not None for each in (name, description, members, *options.values()))
    if not (changed or add or drop):
        raise typer.BadParameter("pass an option for the change, such as --name or --add")
    connection.kind.known(options, *connection.kind.group_options)

    done: list[str] = []

    async def work(pbx: PBX) -> None:
        group_id = await pbx.group_id(group)
        # A PBX has no single request for all three.
        try:
            if changed:
                await pbx.update_group(group_id, name, description, members, options)
                done.append("changed")
            if add:
                with _waiting("Adding", add):
                    await pbx.add_members(group_id, add)
                done.append("members added")
            if drop:
                with _waiting("Removing", drop):
                    await pbx.remove_members(group_id, drop)
        except BaseException:
            if done:
                print_error(f"group {group}: {', '.join(done)}; the next step failed")
            raise

    connection.run(work)
    print_note(f"Updated group {group}.")


def _waiting(verb: str, numbers: Sequence[str]) -> AbstractContextManager[Progress]:
    """Show that members are being added or removed: v22 takes a request for each."""
    title = f"{verb} {len(numbers):,} members"
    return progress(title, unit="seconds", shown=len(numbers) > 1)


@groups.command()
@spread
def remove(group: GroupName, *, yes: Yes = False, connection: Connection) -> None:
    """Remove a group; asks first.

    Its extensions stay.
    """
    confirm(f"Remove group {group}?", yes=yes)

    async def work(pbx: PBX) -> None:
        await pbx.remove_group(await pbx.group_id(group))

    connection.run(work)
    print_note(f"Removed group {group}.")
