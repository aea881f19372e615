"""Scorers of all runtimes, and the score file that each of them fills."""
