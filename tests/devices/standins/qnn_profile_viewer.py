"""Stands in for `qnn-profile-viewer`: a CSV of all events."""

import json
import sys
from pathlib import Path

options = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
level, times = json.loads(Path(options["--input_log"]).read_bytes().removeprefix(b"\x00QNN\x01"))
header = "Msg Timestamp,Message,Time,Unit of Measurement,Timing Source,Event Level,Event Identifier"
rows = [header, "100,INIT,74748,US,NETRUN,ROOT,Init", "200,FINALIZE,256372,US,NETRUN,ROOT,Graph 0: model"]
for number, value in enumerate(times):
    rows.append(f"{1000 + number},EXECUTE,{value + 50},US,NETRUN,ROOT,Graph 0: model")
    rows.append(f"{1000 + number},EXECUTE,4,COUNT,BACKEND,ROOT,Number of HVX threads used")
    rows.append(f"{1000 + number},EXECUTE,{value},US,BACKEND,ROOT,QNN accelerator (execute) time")
    rows.append(f"{1000 + number},EXECUTE,0,US,BACKEND,ROOT,Accelerator (execute) time")
    if level == "detailed":
        rows.append(f'{1000 + number},EXECUTE,1500,US,BACKEND,SUB-EVENT,"_Conv, fused:OpId_7"')
rows.append("9999,EXECUTE,214.8,INF/SEC,NETRUN,ROOT,NetRun IPS")
Path(options["--output"]).write_text("\n".join(rows) + "\n")
