"""The most important guards, each with a patch that removes it and the tests that then fail."""
