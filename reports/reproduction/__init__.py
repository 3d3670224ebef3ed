"""Published tables and what this repository measures in their settings, cell by cell."""
