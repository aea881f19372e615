"""Devices: drift between the host's score file and any other runtime's or board's."""
