"""``portsip-async fleet``: watch many PBXes from several processes."""
