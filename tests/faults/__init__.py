"""The fault matrix: every operation against every fault, by one table of rules."""
