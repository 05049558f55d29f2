"""What the clients of all generations share: their base, and how resources send, patch and write.

Like `core/` and `bulk/`, it knows no operation, path or code of a generation.
"""
