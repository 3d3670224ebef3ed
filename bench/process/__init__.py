"""The process of a run: signals, terminals, torch's defaults, several ranks, work beside the main
thread.
"""
