"""A hook that schemathesis loads: it puts a token and ids that exist into the generated requests.

Without it, every request would be refused. PORTSIP_FUZZ_KNOWN is the path of a JSON file: what to
put into the requests of each operation, used one after another. Where that is used up, and in
every fourth request, the values stay as they were generated.
"""

import itertools
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import schemathesis

Values = Mapping[str, Mapping[str, str]]
KNOWN: Mapping[str, list[Values]] = json.loads(Path(os.environ["PORTSIP_FUZZ_KNOWN"]).read_bytes())
PARTS = ("path_parameters", "query", "headers", "body")
left = {operation: iter(values) for operation, values in KNOWN.items()}
NOTHING: Iterator[Values] = iter(())
turns = itertools.count(1)


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: Any, kwargs: dict[str, Any]) -> None:
    case.headers["Authorization"] = f"Bearer {os.environ['PORTSIP_FUZZ_TOKEN']}"
    if next(turns) % 4:
        values = next(left.get(case.operation.label, NOTHING), {})
        for part in PARTS:
            generated = getattr(case, part)
            if part in values and isinstance(generated, dict):
                generated.update(values[part])
