"""What holds the documentation: the pages that are written by the code, and runs of its blocks."""
