"""The guards that matter most, each with a patch that takes it out and the tests that notice."""
