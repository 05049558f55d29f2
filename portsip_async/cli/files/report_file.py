"""The report about the rows of a file, opened before the first row is sent."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from errno import ENOENT
from pathlib import Path
from typing import Final

from ..failures import USAGE, Failure, print_error
from .atomic_file import NewFile, new_file
from .import_file import Row

_DEVICES: Final = (("/", "dev"), ("/", "proc"))  # folders that can't hold a report


@contextmanager
def open_report(file: Path, requested: Path | None, default: Path) -> Iterator[NewFile]:
    """Open the report; it appears once it is published.

    Args:
        file: the file whose rows are reported.
        requested: the report's path, if the user named one.
        default: its path otherwise.

    Raises:
        Failure: it can't be written.
    """
    report = requested or default
    with ExitStack() as stack:
        try:
            is_same = requested is not None and requested.exists() and file.exists()
            if is_same and report.samefile(file):
                raise Failure(
                    f"the report must not be the file that is read, got {requested}",
                    "name another file with --report",
                    USAGE,
                )
            beside_device = not file.is_file() and report.parent.resolve().parts[:2] in _DEVICES
            if requested is None and beside_device:
                raise FileNotFoundError(ENOENT, "No folder for files", str(report))
            target = stack.enter_context(new_file(report, replace=False))
        except OSError as error:
            raise Failure(
                f"the report can't be written: {report}: {error.strerror}; nothing was sent",
                "name another file with --report",
            ) from None
        yield target


def print_unreadable(title: str, rows: Sequence[Row], most: int) -> None:
    """Write why rows of a file can't be used; count those above `most`."""
    for row in rows[:most]:
        print_error(f"{title} {row.key}: {row.problem}")
    if len(rows) > most:
        print_error(f"{title}: {len(rows) - most:,} more rows can't be read")
