"""Compiles train steps for TPUs ahead of time, without one: `python -m tpu_check.compile DIR … [--tpus=v4,v5e,v6e]`.

Needs tpu_check/requirements.txt and the programs that `tpu_check.lower` wrote to each DIR. Prints a table and writes
results/tpu_check.csv; ends with code 1 if a step does not compile.
"""

import argparse
import csv
import json
import os
import pathlib
import sys
import time
from typing import Any

# Without these libtpu asks the metadata server of Google Cloud for minutes, and jax looks for a TPU.
os.environ |= {"TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost", "TPU_WORKER_ID": "0"}
os.environ |= {"TPU_MIN_LOG_LEVEL": "3", "JAX_PLATFORMS": "cpu"}

import numpy as np
from jax._src.interpreters import mlir
from jax.experimental import topologies
from jaxlib import _jax, xla_client
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo

# The smallest slice of each kind that the compiler knows.
TOPOLOGIES = {"v4": "v4:2x2x1", "v5e": "v5e:2x2", "v6e": "v6e:2x2"}
RESULTS = pathlib.Path("results", "tpu_check.csv")
COLUMNS = ("step", "tpu", "cores", "batch", "policy", "parameters", "memory_MB", "GFLOPs", "compiled_in_s", "result")


def main() -> None:
    """Compiles all programs for all kinds of TPU."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directories", type=pathlib.Path, nargs="+")
    parser.add_argument("--tpus", default=",".join(TOPOLOGIES), help="kinds of TPU")
    parser.add_argument("--results", type=pathlib.Path, default=RESULTS)
    options = parser.parse_args()
    rows = []
    found = [(path, facts) for path in options.directories for facts in json.loads((path / "steps.json").read_text())]
    for path, facts in found:
        program = (path / facts.pop("file")).read_bytes()
        for tpu in options.tpus.split(","):
            rows.append({**facts, "tpu": tpu, **compiled(program, tpu, facts["cores"])})
            print("  ".join(f"{rows[-1][column]!s:>14.28}" for column in COLUMNS), flush=True)
    options.results.parent.mkdir(parents=True, exist_ok=True)
    with options.results.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    failed = sum(row["result"] != "compiles" for row in rows)
    print(f"{len(rows) - failed} of {len(rows)} compile; written to {options.results}.")
    sys.exit(1 if failed else 0)


def compiled(program: bytes, tpu: str, cores: int = 1) -> dict[str, Any]:
    """Compiles one program for one kind of TPU.

    Args:
        program: StableHLO, serialized.
        tpu: a key of `TOPOLOGIES`.
        cores: among which it is divided.

    Returns:
        Memory of a core for arguments and intermediates, its operations in one step, time to compile; "result" is
        "compiles", or what the compiler says.
    """
    devices = topologies.get_topology_desc(topology_name=TOPOLOGIES[tpu], platform="tpu").devices[:cores]
    options = xla_client.CompileOptions()
    options.num_replicas, options.num_partitions = 1, cores
    options.executable_build_options.use_spmd_partitioning = cores > 1
    options.executable_build_options.use_shardy_partitioner = cores > 1
    options.device_assignment = xla_client.DeviceAssignment.create(np.array([[device.id for device in devices]]))
    start = time.perf_counter()
    try:
        executable = devices[0].client.compile(_module(program), _jax.DeviceList(tuple(devices)), options)
    except Exception as error:
        sentence = str(error).splitlines()[0]
        return {"memory_MB": "", "GFLOPs": "", "compiled_in_s": "", "result": sentence}
    seconds, memory, costs = (
        time.perf_counter() - start,
        executable.get_compiled_memory_stats(),
        executable.cost_analysis(),
    )
    costs = costs[0] if isinstance(costs, list) else costs
    return {
        "memory_MB": round((memory.temp_size_in_bytes + memory.argument_size_in_bytes) / 1e6, 1),
        "GFLOPs": round(costs["flops"] / 1e9, 2),
        "compiled_in_s": round(seconds, 1),
        "result": "compiles",
    }


def _module(program: bytes) -> Any:
    """The program without the copies that TensorFlow puts before results, in a dialect that jax does not know."""
    context = mlir.make_ir_context()
    with context:
        module = stablehlo.deserialize_portable_artifact(context, program)
        copies = []

        def bypass(operation: Any) -> Any:
            if operation.name == "mhlo.copy":
                operation.results[0].replace_all_uses_with(operation.operands[0])
                copies.append(operation)
            return ir.WalkResult.ADVANCE

        module.operation.walk(bypass)
        for operation in copies:
            operation.erase()
    return module


if __name__ == "__main__":
    main()
