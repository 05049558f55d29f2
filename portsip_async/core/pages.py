"""Walks over page-numbered lists, over an injected fetch."""

from typing import Generic, TypeVar

from msgspec import field

from ..record import Record

T = TypeVar("T")


class Page(Record, Generic[T], frozen=True, kw_only=True):
    """One page of a list, as the PBX numbered and counted it.

    Attributes:
        items: the page's items, in the PBX's order.
        pagination: the page's number, counted from 1.
        pagesize: how many items a page may hold, as the PBX tells it.
        page_count: how many pages there are; None where the reply lacks it.
        count: what the PBX calls its count; neither a length nor a total to rely on.
        sort_by: the order that the PBX says it used.
    """

    items: tuple[T, ...]
    pagination: int | None = None
    pagesize: int | None = None
    page_count: int | None = None
    count: int | None = None
    sort_by: str | None = None
    _err_code: int | float | str | None = field(default=None, name="err_code")
