"""Sections of the page of a comparison. One file is one section; its template has the same name."""
