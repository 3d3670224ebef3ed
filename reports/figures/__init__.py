"""Figures of the reports, as SVG."""
