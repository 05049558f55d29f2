"""The soak: hours of everything at once, through a real nginx, while all of it is broken on purpose.

``python -m tests.soak --seconds 45``, or ``make soak SECONDS=45``. It needs Linux and nginx.
"""
