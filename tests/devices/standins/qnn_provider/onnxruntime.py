"""Stands in for an ONNX Runtime with the QNN provider built in: computes on the CPU, writes the provider's CSV."""

import importlib
import sys
from pathlib import Path

_here = str(Path(__file__).parent)
sys.path.remove(_here)
_mine = sys.modules.pop("onnxruntime")
_real = importlib.import_module("onnxruntime")
sys.modules["onnxruntime"] = _mine
# The plugin that this machine may have is not the board's.
sys.modules["onnxruntime_qnn"] = None

__version__ = "1.24.1"
SessionOptions = _real.SessionOptions
HEADER = "Msg Timestamp,Message,Time,Unit of Measurement,Timing Source,Event Level,Event Identifier,ONNX Source Ops\n"


class InferenceSession:
    def __init__(self, model, options, providers):
        ((name, settings),) = providers
        assert name == "QNNExecutionProvider" and settings["backend_type"] == "gpu"
        assert options.get_session_config_entry("session.disable_cpu_ep_fallback") == "1"
        self._profile = Path(settings["profiling_file_path"])
        self._session = _real.InferenceSession(model, providers=["CPUExecutionProvider"])
        self._profile.write_text(HEADER)

    def get_inputs(self):
        return self._session.get_inputs()

    def run(self, names, feed):
        with open(self._profile, "a") as stream:
            stream.write("UNKNOWN,EXECUTE,3100,US,BACKEND,ROOT,NULL,\n")
            stream.write('UNKNOWN,BACKEND,2800,US,BACKEND,SUB-EVENT,QNN (execute) time,"Conv;Relu"\n')
        return self._session.run(names, feed)
