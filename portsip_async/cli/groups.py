"""``portsip-async groups``: extension groups."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import typer

from .. import CreatedGroup, Group, GroupSummary, PortSIPClient
from .connect import Connection
from .extensions import Limit, Page, PageSize, SortBy, Yes, confirm, write_all
from .failures import note, tell
from .options import spread
from .output import Output

groups: typer.Typer = typer.Typer(
    name="groups", add_completion=False, help="Work with extension groups.", no_args_is_help=True
)

GroupId = Annotated[str, typer.Argument(metavar="ID", help="The group's id, as 'list' shows it.")]
Member = Annotated[
    list[str] | None,
    typer.Option("--member", metavar="NUMBER", help="An extension in it; may be repeated."),
]
Description = Annotated[str | None, typer.Option(metavar="TEXT", help="What the group is for.")]
_INTERCOM = "Whether members may use the intercom."
_OUTSIDE = "Whether members may call numbers outside."
_CONSOLE = "Whether members may use the management console."


@groups.command("list")
@spread
def list_(
    *,
    limit: Limit = None,
    page: Page = 1,
    page_size: PageSize = 100,
    sort_by: SortBy = None,
    connection: Connection,
    output: Output,
) -> None:
    """List all groups."""

    async def work(pbx: PortSIPClient) -> None:
        walk = pbx.groups.list(page=page, page_size=page_size, sort_by=sort_by)
        await write_all(output, walk, limit, (), GroupSummary)

    connection.run(work)


@groups.command()
@spread
def show(group_id: GroupId, *, connection: Connection, output: Output) -> None:
    """Show a group's settings and members."""
    output.check(Group)

    async def work(pbx: PortSIPClient) -> None:
        output.show(await pbx.groups.show(group_id))

    connection.run(work)


@groups.command()
@spread
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The group's name.")],
    *,
    intercom: Annotated[bool, typer.Option("--intercom/--no-intercom", help=_INTERCOM)] = True,
    external_calls: Annotated[
        bool, typer.Option("--external-calls/--no-external-calls", help=_OUTSIDE)
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

    async def work(pbx: PortSIPClient) -> CreatedGroup:
        return await pbx.groups.create(
            name,
            enable_intercom=intercom,
            enable_external_call=external_calls,
            enable_management_console_access=console,
            group_description=description,
            members=member or None,
        )

    output.check(CreatedGroup)
    output.show(connection.run(work))


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
        bool | None, typer.Option("--external-calls/--no-external-calls", help=_OUTSIDE)
    ] = None,
    console: Annotated[bool | None, typer.Option("--console/--no-console", help=_CONSOLE)] = None,
    description: Description = None,
    member: Annotated[
        list[str] | None,
        typer.Option(
            "--member",
            metavar="NUMBER",
            help="An extension in it, in place of all that are; may be repeated.",
        ),
    ] = None,
    add: Annotated[
        list[str] | None,
        typer.Option("--add", metavar="NUMBER", help="Take an extension in; may be repeated."),
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option("--drop", metavar="NUMBER", help="Take an extension out; may be repeated."),
    ] = None,
    connection: Connection,
) -> None:
    """Change some of a group's settings or members.

    What is not named stays as it is.

    Example: portsip-async groups update ID --name Support --add 103 --drop 101
    """
    told: dict[str, Any] = {
        "group_name": name,
        "group_description": description,
        "enable_intercom": intercom,
        "enable_external_call": external_calls,
        "enable_management_console_access": console,
        "members": member or None,
    }
    changes = {field: value for field, value in told.items() if value is not None}
    if not (changes or add or drop):
        raise typer.BadParameter("say what to change, as with --name or --add")

    steps: tuple[tuple[object, str, Callable[[PortSIPClient], Awaitable[object]]], ...] = (
        (changes, "changed", lambda pbx: pbx.groups.patch(group_id, **changes)),
        (add, "members added", lambda pbx: pbx.groups.add_members(group_id, add or ())),
        (drop, "members removed", lambda pbx: pbx.groups.remove_members(group_id, drop or ())),
    )
    done: list[str] = []

    async def work(pbx: PortSIPClient) -> None:
        try:
            for wanted, told, step in steps:
                if wanted:
                    await step(pbx)
                    done.append(told)
        except BaseException:
            if done:
                tell(f"group {group_id}: {', '.join(done)}; what follows failed")
            raise

    connection.run(work)
    note(f"Updated group {group_id}.")


@groups.command()
@spread
def remove(group_id: GroupId, *, yes: Yes = False, connection: Connection) -> None:
    """Remove a group; asks first.

    Its extensions stay.
    """
    confirm(f"Remove group {group_id}?", yes=yes)
    connection.run(lambda pbx: pbx.groups.remove(group_id))
    note(f"Removed group {group_id}.")
