// Loaded before Prism. Standard input is a pipe that pytest holds, so Prism stops with it, even
// when pytest is killed.
process.stdin.resume().on("end", () => process.exit());
