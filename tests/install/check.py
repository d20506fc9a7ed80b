"""`pip install .` into a clean environment, then pack and serve from there, not from the tree.

Run by `make install-check`. The environment lies in a temporary folder and so does the working
directory, so nothing of the source tree can be imported by accident.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CALL = """
import json, sys
from pathlib import Path
import gateway, grpc
import numpy as np
from gateway.packing import pack_contract
from gateway.wire import open_inference_pb2 as pb, open_inference_pb2_grpc as stubs

assert "site-packages" in gateway.__file__, gateway.__file__
port = json.loads(sys.argv[1])["grpc"].rsplit(":", 1)[1]
x = np.arange(8, dtype=np.float32).reshape(2, 4)
request = pb.ModelInferRequest(model_name=sys.argv[2], raw_input_contents=[x.tobytes()])
request.inputs.add(name="x", datatype="FP32", shape=x.shape)
with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
    answer = stubs.GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=5)
got = np.frombuffer(answer.raw_output_contents[0], np.float32).reshape(2, 4)
assert np.array_equal(got, np.maximum(x - 3, 0)), got
print(answer.model_name, got.tolist())
"""
# Sub then Relu, made by the project's own tools' wire format: no onnx package is installed there.
GRAPH = """
import sys
from onnx import TensorProto, helper, numpy_helper, save
import numpy as np
three = numpy_helper.from_array(np.float32(3), "three")
value = helper.make_tensor_value_info
nodes = [helper.make_node("Sub", ["x", "three"], ["d"]), helper.make_node("Relu", ["d"], ["y"])]
graph = helper.make_graph(
    nodes, "g", [value("x", TensorProto.FLOAT, ["n", 4])],
    [value("y", TensorProto.FLOAT, ["n", 4])], [three],
)
opset = [helper.make_opsetid("", 17)]
save(helper.make_model(graph, opset_imports=opset, ir_version=9), sys.argv[1])
"""


def main() -> None:
    """Install, pack, serve, call, stop."""
    with tempfile.TemporaryDirectory(prefix="sluicegate-install-") as folder:
        here = Path(folder)
        binaries = here / "venv" / "bin"
        clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}

        def run(*command: str | Path) -> str:
            return subprocess.check_output([*map(str, command)], cwd=here, env=clean, text=True)

        _say("a clean environment, pip install .")
        run(sys.executable, "-m", "venv", here / "venv")
        run(binaries / "python", "-m", "pip", "install", "--quiet", ROOT)
        # The graph is made with the tree's tools; what is installed has only to serve it.
        run(ROOT / ".venv" / "bin" / "python", "-c", GRAPH, here / "g.onnx")
        _say("sluicegate pack, serve, call")
        run(binaries / "sluicegate", "pack", "g.onnx", "--name", "m", "--out", "models")
        command = [str(binaries / "sluicegate"), "serve", "--models", "models", "--json"]
        command += ["--allow-unsigned", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]
        with subprocess.Popen(
            command, cwd=here, env=clean, stdout=subprocess.PIPE, text=True
        ) as server:
            try:
                ready = server.stdout.readline() if server.stdout else ""
                _say(f"serves {json.loads(ready)['models'][0]['digest']}")
                _say(run(binaries / "python", "-c", CALL, ready, "m").strip())
            finally:
                server.terminate()
        if server.returncode:
            raise SystemExit(f"serve ended with {server.returncode}")
    _say("install check: 1 passed")


def _say(text: str) -> None:
    sys.stderr.write(f"== {text}\n")


if __name__ == "__main__":
    main()
