"""Devices: what runs on a board and what it brings back, and drift between the host's score file and any other."""
