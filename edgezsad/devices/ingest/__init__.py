"""Ingest: a board's result becomes score files, run records and a latency record, or is refused by name.

`archive` opens what came back, `trtexec` and `qnn` read the tools' own formats, `result` checks whose result it is,
`outputs` and `order` what is in it, `latency` the timing run, and `take` writes what is good.
"""
