"""What Qualcomm's tools write: raw tensors of qnn-net-run, and times from qnn-profile-viewer or ONNX Runtime.

The viewer's CSV and ONNX Runtime's have the same columns; newer versions of the latter add "ONNX Source Ops", and a
file is appended to when a session opens it again. The viewer also prints averages as text.
"""

import csv
import io
import math
import re

import numpy as np

from edgezsad.errors import InputError

COLUMNS = (
    "Msg Timestamp",
    "Message",
    "Time",
    "Unit of Measurement",
    "Timing Source",
    "Event Level",
    "Event Identifier",
)
SERIES = (
    "QNN accelerator (execute) time",
    "Accelerator (execute) time",
    "QNN (execute) time",
)
"""Identifiers of an execution's time, the closest to the processor's own work first."""
NETRUN = "NetRun"
EXECUTE = "execute event"
"""What our names are for the time that qnn-net-run measures around an execution, and for an event without a name."""
_IN_A_MILLISECOND = {"NS": 1e6, "US": 1e3, "MS": 1.0, "S": 1e-3, "SEC": 1e-3}


def read_tensor(data: bytes, count: int, what: str) -> np.ndarray:
    """A tensor of `count` float32 values.

    Raises:
        InputError: another length, or not finite.
    """
    if len(data) != 4 * count:
        hint = " (native types? leave --use_native_output_files out)" if len(data) in (count, 2 * count) else ""
        raise InputError(f"{what}: {len(data)} bytes, not {4 * count}{hint}")
    values = np.frombuffer(data, dtype="<f4").astype(np.float32)
    if not np.isfinite(values).all():
        raise InputError(f"{what}: has values that are not finite")
    return values


def read_input_list(text: str, what: str) -> list[str]:
    """The names of the files in a list that was given to qnn-net-run, without folder and ending.

    Raises:
        InputError: a line is not `image:=FILE.raw`.
    """
    names = []
    for number, line in enumerate(text.splitlines()):
        found = re.fullmatch(r"image:=(?:[^\t]*/)?([A-Za-z0-9_-]+)\.raw\s*", line)
        if not found:
            raise InputError(f"{what}: line {number + 1} is damaged ({line!a:.60})")
        names.append(found[1])
    return names


def read_times(data: bytes, what: str) -> dict[str, list[float]]:
    """Times of executions, milliseconds, by what was measured, in the order of the executions.

    Args:
        data: a CSV of qnn-profile-viewer or ONNX Runtime, or what the viewer prints: then each list is one average.
        what: the file's name, for errors.

    Raises:
        InputError: neither, cut off, or without any time of an execution.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{what}: no text; give the CSV that qnn-profile-viewer makes of the log") from None
    series = _csv_times(text, what) if COLUMNS[0] in text else _text_times(text)
    # A counter that a backend does not have stays at zero.
    series = {name: values for name, values in series.items() if min(values) > 0}
    if not series:
        raise InputError(f"{what}: has no time of an execution")
    return series


def choose(series: dict[str, list[float]]) -> str:
    """The name of the series that says most of the processor's own work."""
    return next(name for name in (*SERIES, EXECUTE, NETRUN, *series) if name in series)


def _csv_times(text: str, what: str) -> dict[str, list[float]]:
    series: dict[str, list[float]] = {}
    columns: dict[str, int] | None = None
    width = 0
    try:
        for row in csv.reader(io.StringIO(text), strict=True):
            if row and row[0].strip() == COLUMNS[0]:
                # A header may come again where two runs were put together.
                columns = {name.strip(): place for place, name in enumerate(row)}
                width = len(row)
                if missing := [name for name in COLUMNS if name not in columns]:
                    raise InputError(f"{what}: has no column {missing[0]}")
            elif columns is None or not row:
                continue
            elif not len(COLUMNS) <= len(row) <= max(width, len(COLUMNS) + 1):
                raise InputError(f"{what}: a row has {len(row)} cells; cut off or damaged")
            else:
                _add(series, {name: row[columns[name]].strip() for name in COLUMNS if columns[name] < len(row)}, what)
    except csv.Error as error:
        raise InputError(f"{what}: damaged ({error})") from None
    return series


def _add(series: dict[str, list[float]], row: dict[str, str], what: str) -> None:
    """Put a row's time under its name, if it is an execution's."""
    unit = row.get(COLUMNS[3], "").upper()
    if unit not in _IN_A_MILLISECOND:
        return
    identifier, message = row.get(COLUMNS[6], ""), row.get(COLUMNS[1], "").upper()
    if identifier in SERIES:
        name = identifier
    elif message == "EXECUTE" and row.get(COLUMNS[5], "").upper() == "ROOT":
        name = NETRUN if row.get(COLUMNS[4], "").upper() == "NETRUN" else EXECUTE
    else:
        return
    try:
        value = float(row[COLUMNS[2]])
    except ValueError:
        value = math.nan
    if not 0 <= value < 1e15:
        raise InputError(f"{what}: a time of {name} is {row[COLUMNS[2]]!a:.40}")
    series.setdefault(name, []).append(value / _IN_A_MILLISECOND[unit])


def _text_times(text: str) -> dict[str, list[float]]:
    """The averages that the viewer prints: of executions where it names its sections, of whatever comes first else."""
    _, found, behind = text.partition("Execute Stats (Average):")
    section = re.split(r"\n[\w-]+ Stats", behind)[0] if found else text
    series: dict[str, list[float]] = {}
    for line in section.splitlines():
        match = re.match(r"\s*(?:Backend \((.+)\)|(NetRun)):\s*([0-9.]+) us\s*$", line)
        name = match and (match[1] or match[2])
        if match and name in (*SERIES, NETRUN) and name not in series:
            try:
                value = float(match[3]) / 1000
            except ValueError:
                continue
            series[name] = [value]
    return series
