"""``portsip-async extensions apply``: compare a file with a PBX, and apply it."""
