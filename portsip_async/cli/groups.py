"""``portsip-async groups``: work with extension groups."""

from typing import Annotated, Any

import typer

from .. import CreatedGroup, Group, GroupSummary, Paginator, PortSIPClient
from .connection import Connection
from .failures import print_error, print_note
from .listing import Paging, SortBy, write_list
from .options import Yes, confirm, spread
from .output import Output

groups: typer.Typer = typer.Typer(
    name="groups", add_completion=False, help="Work with extension groups.", no_args_is_help=True
)

GroupId = Annotated[str, typer.Argument(metavar="ID", help="The group's id, as 'list' shows it.")]
Member = Annotated[
    list[str] | None,
    typer.Option("--member", metavar="NUMBER", help="A member's extension number; repeatable."),
]
Description = Annotated[str | None, typer.Option(metavar="TEXT", help="The group's description.")]
_INTERCOM = "Whether members may use the intercom."
_EXTERNAL = "Whether members may call external numbers."
_CONSOLE = "Whether members may use the management console."


@groups.command("list")
@spread
def list_(
    *, paging: Paging, sort_by: SortBy = None, connection: Connection, output: Output
) -> None:
    """List all groups."""

    def walk(pbx: PortSIPClient) -> Paginator[GroupSummary]:
        return pbx.groups.list(sort_by=sort_by, **paging.pages)

    write_list(connection, output, paging, GroupSummary, walk)


@groups.command()
@spread
def show(group_id: GroupId, *, connection: Connection, output: Output) -> None:
    """Show a group's settings and members."""
    output.check(Group)
    output.show(connection.run(lambda pbx: pbx.groups.show(group_id)))


@groups.command()
@spread
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The group's name.")],
    *,
    intercom: Annotated[bool, typer.Option("--intercom/--no-intercom", help=_INTERCOM)] = True,
    external_calls: Annotated[
        bool, typer.Option("--external-calls/--no-external-calls", help=_EXTERNAL)
    ] = True,
    console: Annotated[bool, typer.Option("--console/--no-console", help=_CONSOLE)] = False,
    description: Description = None,
    member: Member = None,
    connection: Connection,
    output: Output,
) -> None:
    """Create a group, and show its id.

    Example: portsip-async groups create Sales --member 101 --member 102 --no-external-calls
    """
    output.check(CreatedGroup)
    created = connection.run(
        lambda pbx: pbx.groups.create(
            name,
            enable_intercom=intercom,
            enable_external_call=external_calls,
            enable_management_console_access=console,
            group_description=description,
            members=member or None,
        )
    )
    output.show(created)


@groups.command()
@spread
def update(
    group_id: GroupId,
    *,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="The new name.")] = None,
    intercom: Annotated[
        bool | None, typer.Option("--intercom/--no-intercom", help=_INTERCOM)
    ] = None,
    external_calls: Annotated[
        bool | None, typer.Option("--external-calls/--no-external-calls", help=_EXTERNAL)
    ] = None,
    console: Annotated[bool | None, typer.Option("--console/--no-console", help=_CONSOLE)] = None,
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

    Example: portsip-async groups update ID --name Support --add 103 --drop 101
    """
    settings: dict[str, Any] = {
        "group_name": name,
        "group_description": description,
        "enable_intercom": intercom,
        "enable_external_call": external_calls,
        "enable_management_console_access": console,
        "members": member or None,
    }
    changes = {field: value for field, value in settings.items() if value is not None}
    if not (changes or add or drop):
        raise typer.BadParameter("pass an option for the change, such as --name or --add")

    done: list[str] = []

    async def work(pbx: PortSIPClient) -> None:
        # A PBX has no single request for all three.
        try:
            if changes:
                await pbx.groups.patch(group_id, **changes)
                done.append("changed")
            if add:
                await pbx.groups.add_members(group_id, add)
                done.append("members added")
            if drop:
                await pbx.groups.remove_members(group_id, drop)
        except BaseException:
            if done:
                print_error(f"group {group_id}: {', '.join(done)}; the next step failed")
            raise

    connection.run(work)
    print_note(f"Updated group {group_id}.")


@groups.command()
@spread
def remove(group_id: GroupId, *, yes: Yes = False, connection: Connection) -> None:
    """Remove a group; asks first.

    Its extensions stay.
    """
    confirm(f"Remove group {group_id}?", yes=yes)
    connection.run(lambda pbx: pbx.groups.remove(group_id))
    print_note(f"Removed group {group_id}.")
