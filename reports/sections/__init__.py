"""Sections of a page. One module and one template, one section."""
