"""The soak: the whole SDK under load behind a real nginx, while things break on purpose.

Run it by ``python -m tests.soak --seconds 180`` or ``make soak``. It needs Linux and nginx.
"""
