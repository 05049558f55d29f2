"""The PBX, the account and the client of a command."""
