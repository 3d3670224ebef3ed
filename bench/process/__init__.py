"""The process of a run: signals, terminals, torch's defaults, ranks, threads of long work."""
