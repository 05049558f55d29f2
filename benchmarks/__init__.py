"""What the SDK costs, compared with the alternatives. Run it with `python -m benchmarks`."""
