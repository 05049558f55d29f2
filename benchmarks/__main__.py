"""Run all benchmarks: about three minutes, with --quick half a minute.

A whole run writes RESULTS.md and results.png; a quick one has too few rounds to be kept, and only
prints.
"""

import argparse
import sys
import time

from . import (
    bench_calls,
    bench_decode,
    bench_import,
    bench_poll,
    bench_profile,
    bench_server,
    bench_starts,
    bench_walk,
    report,
)
from .harness import Figure, Table


def main() -> None:
    """Run everything in turn, telling on standard error how far it is."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few rounds; nothing is written")
    quick = parser.parse_args().quick
    began = time.perf_counter()

    def progress(text: str) -> None:
        print(f"[{time.perf_counter() - began:4.0f} s] {text}", file=sys.stderr, flush=True)

    figures: dict[str, Figure] = {}
    tables: list[Table] = []

    def keep(found: tuple[dict[str, Figure], list[Table]]) -> None:
        figures.update(found[0])
        tables.extend(found[1])

    *found, rounds = bench_calls.measure(quick=quick, progress=progress)
    keep((found[0], found[1]))
    keep(bench_server.measure(rounds, quick=quick, progress=progress))
    for bench in (bench_profile, bench_poll, bench_walk, bench_decode, bench_starts, bench_import):
        keep(bench.measure(quick=quick, progress=progress))

    print(report.machine(), report.versions(), sep="\n", end="\n\n")
    for table in tables:
        print(report.as_text(table), end="\n\n")
    print(report.as_text(report.goals_table(figures)))
    progress("done")
    if not quick:
        report.write(figures, tables, rounds)
        print(f"\nWritten: {report.RESULTS.name}, {report.PICTURE.name}")


if __name__ == "__main__":
    main()
