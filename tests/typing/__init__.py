"""Code for type checkers only."""
