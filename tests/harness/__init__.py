"""Real servers, a scripted HTTP server and a fault proxy for the tests and the benchmarks."""
