"""Writes train steps as the programs that XLA compiles: `python -m tpu_check.lower DIR [--steps=…] [--full-size]`.

With KERAS_BACKEND=jax those of JAX, where XLA_FLAGS=--xla_force_host_platform_device_count=4 stands for four cores. The
programs are StableHLO, one file a case, beside steps.json with the names. Nothing here needs a TPU or its compiler;
`tpu_check.compile` has it, in an environment of its own.
"""

import argparse
import json

from keras_nest.backends import on_jax
from keras_nest.console import console
from keras_nest.files import local_path
from keras_nest.training import create_strategy
from tpu_check.steps import CASES, FULL_SIZE, FULL_SIZE_ON_JAX, ON_JAX, Case, batch_of, step_of, trainer_of

INDEX = "steps.json"


def main() -> None:
    """Lowers cases, small or full-size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=local_path)
    parser.add_argument("--steps", help="names of those to write, separated by semicolons; all if left out")
    parser.add_argument("--full-size", action="store_true", help="instead, what takes minutes to compile")
    options = parser.parse_args()
    chosen = (options.steps or "").split(";")
    if options.steps and (unknown := set(chosen) - {*CASES, *ON_JAX, *FULL_SIZE, *FULL_SIZE_ON_JAX}):
        parser.error(f"there is no step {unknown.pop()!r}")
    options.directory.mkdir(parents=True, exist_ok=True)
    index = []
    small, full_size = (ON_JAX, FULL_SIZE_ON_JAX) if on_jax() else (CASES, FULL_SIZE)
    cases = full_size if options.full_size else small
    for number, (name, case) in enumerate(cases.items()):
        if options.steps and name not in chosen:
            continue
        program, parameters = lower(case)
        file = f"{number}.mlirbc"
        (options.directory / file).write_bytes(program)
        facts = {"step": name, "file": file, "parameters": parameters, "cores": case.cores}
        index.append(facts | {"batch": case.batch, "policy": case.policy})
        console.print(f"{name}: {len(program):,} bytes")
    (options.directory / INDEX).write_text(json.dumps(index, indent=2))


def lower(case: Case) -> tuple[bytes, int]:
    """The program of a case, and how many parameters its model has."""
    if on_jax():
        from tpu_check import jax_step

        create_strategy("one_device" if case.cores == 1 else "auto", model_parallel=case.model_parallel)
        trainer = trainer_of(case)
        return jax_step.program(trainer, batch_of(case, trainer)), trainer.model.count_params()
    trainer = trainer_of(case)
    batch = batch_of(case, trainer)
    compiler_ir = step_of(trainer, batch).experimental_get_compiler_ir(*batch)
    return compiler_ir(stage="stablehlo_serialized"), trainer.model.count_params()


if __name__ == "__main__":
    main()
