"""Files for other programs and the terminal: wide tables as CSV, Markdown, LaTeX and text."""
