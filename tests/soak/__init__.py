"""The soak: everything at once, for hours, through a real nginx, while it is broken on purpose.

``python -m tests.soak --seconds 45``, or ``make soak SECONDS=45``. It needs Linux and nginx.
"""
