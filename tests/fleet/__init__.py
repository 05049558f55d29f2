"""Several processes and a real Redis, while both are killed and paused: ``make test-fleet``.

It needs Linux and redis-server.
"""
