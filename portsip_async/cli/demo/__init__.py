"""``portsip-async demo``: the SDK at work with a PBX that fails on purpose."""
