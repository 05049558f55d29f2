"""Generation v22 of the simulated PBX, written from the vendor's documents alone."""
