"""Writes every train step as the program that XLA compiles: `python -m tpu_check.lower DIR [--full-size]`.

The programs are StableHLO, one file a case, beside steps.json with the names. Nothing here needs a TPU or its compiler;
`tpu_check.compile` has it, in an environment of its own.
"""

import argparse
import json

from keras_nest.console import console
from keras_nest.files import local_path
from tpu_check.steps import CASES, FULL_SIZE, batch_of, step_of, trainer_of

INDEX = "steps.json"


def main() -> None:
    """Lowers all cases, small or full-size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=local_path)
    parser.add_argument("--full-size", action="store_true", help="instead, what takes minutes to compile")
    options = parser.parse_args()
    options.directory.mkdir(parents=True, exist_ok=True)
    index = []
    for number, (name, case) in enumerate((FULL_SIZE if options.full_size else CASES).items()):
        trainer = trainer_of(case)
        batch = batch_of(case, trainer)
        program = step_of(trainer, batch).experimental_get_compiler_ir(*batch)(stage="stablehlo_serialized")
        file = f"{number}.mlirbc"
        (options.directory / file).write_bytes(program)
        facts = {"step": name, "file": file, "parameters": trainer.model.count_params()}
        index.append(facts | {"batch": case.batch, "policy": case.policy})
        console.print(f"{name}: {len(program):,} bytes")
    (options.directory / INDEX).write_text(json.dumps(index, indent=2))


if __name__ == "__main__":
    main()
