"""Standard streams and terminals: text, colours, keys, signals and progress bars."""
