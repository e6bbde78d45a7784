"""How many cores of a host feed an accelerator: what a train step takes, over what a core prepares.

    cores = images a second of the train step / images a second of a core
    images a second of the train step = peak * utilization / (6 * multiply-adds of a forward pass)

A train step is three forward passes, each of two operations a multiply-add. The peak of an accelerator is what its
maker says of bfloat16; the share of it that a step reaches is an assumption, and no step was run on any of them. What a
core prepares is measured: NesT's whole recipe in results/input_pipeline.csv, or of another machine what `python -m
benchmarks.input_pipeline` says there.
"""

import argparse
import csv
import math
import pathlib
from collections.abc import Sequence

from keras_nest import registry
from keras_nest.files import local_path

PEAKS = {"v3-8": 4 * 123e12, "v5e-8": 8 * 197e12, "8 x A100": 8 * 312e12}
"""Operations a second in bfloat16, as published: 123 T a chip of TPU v3 and 197 T of v5e by Google, 312 T by NVIDIA."""
UTILIZATION = 0.4
"""Assumed share of the peak."""
MODELS = (
    "nest_tiny_s196_224",
    "nest_small_s196_224",
    "nest_base_s196_224",
    "ViT-B_16",
    "ViT-L_16",
    "R26+ViT-S_32",
    "Mixer-B_16",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the calculator from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utilization", type=_share, default=UTILIZATION, help="share of the peak that a step reaches")
    parser.add_argument(
        "--images-per-core", type=_positive, help="images a second of a core; that of results/ if not given"
    )
    parser.add_argument(
        "--images-per-step-second", type=_positive, help="images a second of the step, where it is known"
    )
    parser.add_argument("--results", type=local_path, default=pathlib.Path("results"), help="directory of the CSV file")
    options = parser.parse_args(arguments)
    core = options.images_per_core or measured(options.results)
    if options.images_per_step_second:
        print(f"{cores(options.images_per_step_second, core)} cores, of {core:.0f} images/s each.")
        return
    for row in table(core, options.utilization):
        print(f"{row[0]:<22}" + "".join(f"{cell:>22}" for cell in row[1:]))
    print(f"Cores of {core:.0f} images/s, for steps at {options.utilization:.0%} of the peak, which is assumed.")


def table(core: float, utilization: float = UTILIZATION) -> list[list[str]]:
    """A row for each model: its name, and for each accelerator images a second and cores.

    Args:
        core: images a second that a core prepares.
        utilization: share of the peak.
    """
    macs = {row["model"]: float(row["multiply_adds"]) for row in registry.read_measurements() if row["multiply_adds"]}
    rows = [["", *PEAKS]]
    for model in MODELS:
        speeds = [step_speed(peak, macs[model], utilization) for peak in PEAKS.values()]
        rows.append([model, *(f"{speed:,.0f}/s: {cores(speed, core):,}" for speed in speeds)])
    return rows


def step_speed(peak: float, macs: float, utilization: float = UTILIZATION) -> float:
    """Images a second of a train step.

    Args:
        peak: operations a second.
        macs: multiply-adds of a forward pass of an image.
        utilization: share of the peak.
    """
    return peak * utilization / (6 * macs)


def cores(step: float, core: float) -> int:
    """Cores that feed a step, both in images a second."""
    return math.ceil(step / core)


def measured(results: object = pathlib.Path("results")) -> float:
    """Images a second of a core with the whole recipe, as a directory of results has it."""
    with (results / "input_pipeline.csv").open(newline="", encoding="utf-8") as file:
        speeds = {row["candidate"]: float(row["images/s"]) for row in csv.DictReader(file)}
    return speeds["mix"]


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not above 0.")
    return number


def _share(text: str) -> float:
    number = _positive(text)
    if number > 1:
        raise argparse.ArgumentTypeError(f"{text} is more than the whole peak, 1.")
    return number


if __name__ == "__main__":
    main()
