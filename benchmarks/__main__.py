"""Run all benchmarks. This takes about nine minutes, or two with --quick.

A full run writes RESULTS.md and results.png. A quick run has too few rounds to be worth keeping, so
it only prints its results.
"""

import argparse
import sys
import time

from . import (
    bench_batches,
    bench_calls,
    bench_decode,
    bench_generations,
    bench_import,
    bench_live,
    bench_poll,
    bench_profile,
    bench_server,
    bench_starts,
    bench_store,
    bench_walk,
    report,
)
from .harness import Figure, Findings, Table

_BENCHMARKS = (
    bench_generations,
    bench_store,
    bench_profile,
    bench_poll,
    bench_live,
    bench_batches,
    bench_walk,
    bench_decode,
    bench_starts,
    bench_import,
)


def main() -> None:
    """Run the benchmarks one after the other, with progress on standard error."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few rounds; nothing is written")
    quick = parser.parse_args().quick
    started = time.perf_counter()

    def progress(text: str) -> None:
        seconds = time.perf_counter() - started
        print(f"[{seconds:4.0f} s] {text}", file=sys.stderr, flush=True)

    figures: dict[str, Figure] = {}
    tables: list[Table] = []

    def keep(findings: Findings) -> None:
        figures.update(findings[0])
        tables.extend(findings[1])

    findings, calls = bench_calls.measure(quick=quick, progress=progress)
    keep(findings)
    keep(bench_server.measure(calls, quick=quick, progress=progress))
    for benchmark in _BENCHMARKS:
        keep(benchmark.measure(quick=quick, progress=progress))

    print(report.machine(), report.versions(), sep="\n", end="\n\n")
    for table in tables:
        print(report.as_text(table), end="\n\n")
    print(report.as_text(report.goals_table(figures)))
    progress("done")
    if not quick:
        report.write(figures, tables, calls)
        print(f"\nWritten: {report.RESULTS.name}, {report.PICTURE.name}")


if __name__ == "__main__":
    main()
