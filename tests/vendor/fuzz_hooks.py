"""Hooks that schemathesis loads: they put a token and ids that exist into the generated requests.

Without them, every request would be refused. ``known.json`` in the working directory is what to put
into the requests of each operation, one after another. Where that is used up, and in every fourth
request of an operation, the values stay as they were generated. ``statuses.txt`` gets the status of
each reply.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import schemathesis

Values = Mapping[str, Mapping[str, str]]
KNOWN: Mapping[str, list[Values]] = json.loads(Path("known.json").read_bytes())
ENDS_SESSION = ("/api/auth/sign_out", "/api/logout")
PARTS = ("path_parameters", "query", "headers", "body")
left = {operation: iter(values) for operation, values in KNOWN.items()}
NOTHING: Iterator[Values] = iter(())
turns: Counter[str] = Counter()


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: Any, kwargs: dict[str, Any]) -> None:
    if case.operation.path not in ENDS_SESSION:
        case.headers["Authorization"] = f"Bearer {os.environ['PORTSIP_FUZZ_TOKEN']}"
    name = case.operation.label
    turns[name] += 1
    if turns[name] % 4:
        values = next(left.get(name, NOTHING), {})
        for part in PARTS:
            generated = getattr(case, part)
            if part in values and isinstance(generated, MutableMapping):
                generated.update(values[part])


@schemathesis.hook
def after_call(context: schemathesis.HookContext, case: Any, response: Any) -> None:
    with Path("statuses.txt").open("a") as statuses:
        statuses.write(f"{response.status_code} {case.operation.label}\n")
