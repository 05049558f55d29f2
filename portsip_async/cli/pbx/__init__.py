"""A PBX as the commands see it, in either generation of the API."""
