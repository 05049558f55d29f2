"""What the SDK costs, beside what one would write or pick instead; `python -m benchmarks`."""
