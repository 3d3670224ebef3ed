"""Schedules of the sampling ODE. One file, one schedule."""
