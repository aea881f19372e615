"""Scoring: every runtime writes the same score file, and everything after reads only score files."""
