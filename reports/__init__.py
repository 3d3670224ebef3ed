"""Reports: tables, plots and one HTML page from run folders. Reads ``bench.record``'s schema and trains nothing."""
