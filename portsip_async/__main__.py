"""``python -m portsip_async``: the same as ``portsip-async``."""

from portsip_async.cli import main

if __name__ == "__main__":
    main()
