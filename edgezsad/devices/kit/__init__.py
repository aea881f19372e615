"""The kit: one folder or archive that repeats the device experiment on a board.

Its result is read back by `edgezsad.devices.ingest`.

`record` says what a kit holds, `pictures` makes its images, `plan` decides and estimates, `write` streams it to disk.
`board/` holds what runs on the board: POSIX sh, and nothing of this package.
"""
