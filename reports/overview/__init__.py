"""The part of a report that covers all comparisons: summary, warnings, pool sizes."""
