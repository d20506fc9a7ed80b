"""Every name of the real libraries that the backend uses is there, in each version it is for.

The Python layers are real, from the package index (`make gpu`); the libraries below them
are stubs whose functions give nothing. In 10 and 11 that is enough to import them.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BINDINGS = ROOT / "build" / "gpu-bindings"

STUBS = {
    "libnvinfer": "createInferBuilder_INTERNAL createInferRefitter_INTERNAL "
    "createInferRuntime_INTERNAL getBuilderPluginRegistry getPluginRegistry",
    "libnvonnxparser": "createNvOnnxParser_INTERNAL createNvOnnxParserRefitter_INTERNAL "
    "getNvOnnxParserVersion",
    "libnvinfer_plugin": "initLibNvInferPlugins",
}
# What gateway/engines/tensorrt uses of both flavours, and of tensorrt_rtx alone.
BOTH = {
    "": "Builder ILogger OnnxParser Runtime Refitter IProgressMonitor __version__",
    "ILogger.Severity": "ERROR",
    "IProgressMonitor": "phase_start phase_finish step_complete",
    "Builder": "create_network create_builder_config create_optimization_profile "
    "build_serialized_network",
    "INetworkDefinition": "num_inputs get_input",
    "NetworkDefinitionCreationFlag": "STRONGLY_TYPED",
    "OnnxParser": "parse_from_file num_errors get_error",
    "ParserError": "desc node_name node_operator",
    "IBuilderConfig": "set_memory_pool_limit builder_optimization_level max_aux_streams set_flag "
    "clear_flag add_optimization_profile create_timing_cache set_timing_cache get_timing_cache "
    "progress_monitor",
    "ITimingCache": "serialize",
    "IOptimizationProfile": "set_shape",
    "MemoryPoolType": "WORKSPACE",
    "BuilderFlag": "TF32 REFIT",
    "Runtime": "deserialize_cuda_engine",
    "ICudaEngine": "num_io_tensors get_tensor_name get_tensor_mode get_tensor_dtype "
    "get_tensor_shape num_optimization_profiles device_memory_size_v2 create_execution_context",
    "ExecutionContextAllocationStrategy": "USER_MANAGED",
    "TensorIOMode": "INPUT OUTPUT",
    "DataType": "FLOAT HALF BF16 INT8 UINT8 INT32 INT64 BOOL",
    "IExecutionContext": "set_optimization_profile_async set_input_shape infer_shapes "
    "get_tensor_shape set_tensor_address execute_async_v3 set_device_memory",
    "Refitter": "get_all_weights set_named_weights get_missing_weights refit_cuda_engine",
}
RTX = {
    "ComputeCapability": "SM80 SM86 SM89 SM120",
    "IBuilderConfig": "num_compute_capabilities set_compute_capability",
    "BuilderFlag": "REQUIRE_USER_ALLOCATION",
    "EngineValidity": "INVALID",
    "Runtime": "get_engine_validity",
    "ICudaEngine": "create_runtime_config",
    "IRuntimeConfig": "set_execution_context_allocation_strategy cuda_graph_strategy "
    "dynamic_shapes_kernel_specialization_strategy create_runtime_cache set_runtime_cache",
    "IRuntimeCache": "serialize deserialize",
    "CudaGraphStrategy": "DISABLED",
    "DynamicShapesKernelSpecializationStrategy": "EAGER",
}
LOOK = """
import importlib, json, sys
module, names = importlib.import_module(sys.argv[1]), json.loads(sys.argv[2])
lacks = []
for path, attributes in names:
    found = module
    for part in filter(None, path.split(".")):
        found = getattr(found, part, None)
    lacks += [f"{path}.{a}" for a in attributes.split() if not hasattr(found, a)]
print(json.dumps([module.__version__, lacks]))
"""


def _lacks(module: str, names: list[tuple[str, str]], **environment: str) -> tuple[str, list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", LOOK, module, json.dumps(names)],
        env={"PATH": "", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    version, lacks = json.loads(done.stdout)
    return version, lacks


def _stubs(folder: Path, major: str) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (cc): the stub libraries cannot be built")
    for name, functions in STUBS.items():
        source = "".join(f"void *{each}(void) {{ return 0; }}\n" for each in functions.split())
        library = f"{name}.so.{major}"
        command = [compiler, "-shared", "-fPIC", "-x", "c", "-", f"-Wl,-soname,{library}"]
        command += ["-o", str(folder / library)]
        subprocess.run(command, input=source, text=True, check=True)
    return folder


@pytest.mark.parametrize("version", ["10.3", "10.16", "11.4"])
def test_every_name_in_use_is_in_tensorrt(version: str, tmp_path: Path) -> None:
    place = BINDINGS / version
    if not place.is_dir():
        pytest.skip(f"the bindings of {version} are not fetched: make gpu")
    stubs = _stubs(tmp_path, version.split(".", maxsplit=1)[0])
    found, lacks = _lacks(
        "tensorrt_bindings",
        list(BOTH.items()),
        LD_LIBRARY_PATH=str(stubs),
        PYTHONPATH=f"{place}",
    )
    assert found.startswith(version)
    assert lacks == []


def test_every_name_in_use_is_in_tensorrt_rtx() -> None:
    try:
        import tensorrt_rtx_bindings  # noqa: F401, PLC0415
    except ImportError:
        pytest.skip("tensorrt_rtx is not installed (an optional extra: sluicegate[tensorrt-rtx])")
    version, lacks = _lacks("tensorrt_rtx_bindings", [*BOTH.items(), *RTX.items()])
    assert version.startswith("1.7")
    assert lacks == []


def test_what_is_listed_here_is_in_use() -> None:
    """A name that the backend no longer uses would keep a version out for nothing."""
    source = "\n".join(
        path.read_text() for path in (ROOT / "gateway/engines/tensorrt").glob("*.py")
    )
    for names in (BOTH, RTX):
        for path, attributes in names.items():
            for name in attributes.split():
                if path not in ("DataType", "ComputeCapability") and name != "__version__":
                    assert name in source, f"{path}.{name} is listed, but not in use"
