"""Trains a NesT on handwritten digits, exports it, uses the export, and shows what came out.

python examples/digits_demo.py [--seed=0] [--workdir=runs/demo] [--epochs=25] [--config.FIELD=VALUE …]

Besides what `train_keras.py` writes, the directory gets saved_model/, summary.json and demo.png.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np

from keras_nest_start import quiet_start

with quiet_start():
    import digits_picture
    import keras

    import keras_nest
    from keras_nest import export
    from keras_nest.console import print_facts
    from keras_nest.data.sources import digits
    from keras_nest.files import local_path
    from keras_nest.training.history import read_history

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORKDIR = ROOT / "runs" / "demo"
# Both sides compute in float32, but not in the same order.
TOLERANCE = 1e-4


def main() -> None:
    """Runs the whole demonstration; ends with code 1 when the export gives other predictions."""
    options, overrides = parse()
    train(options, overrides)
    model = keras.models.load_model(options.workdir / "model.keras")
    _, test, info = digits.load()
    logits = model.predict(keras_nest.preprocessor(model)(test.images), verbose=0)
    saved_model = export.to_saved_model(model, options.workdir / "saved_model", overwrite=True)
    exported_logits = predict_elsewhere(saved_model, test.images)

    summary = summarize(options.workdir, test.labels, logits, exported_logits)
    (options.workdir / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", "utf-8")
    rows = read_history(options.workdir / "history.csv")
    digits_picture.write(options.workdir / "demo.png", rows, test, np.argmax(logits, 1), info.class_names)
    show(summary, options.workdir)
    if not summary["same_predictions"]:
        sys.exit(
            f"The export differs from the model by {summary['max_abs_diff']:.1e}; at most {TOLERANCE} is rounding."
        )


def parse() -> tuple[argparse.Namespace, list[str]]:
    """Options of the demonstration, and arguments for `train_keras.py`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--workdir", type=local_path, default=WORKDIR)
    options, overrides = parser.parse_known_args()
    if any(not argument.startswith("--config.") for argument in overrides):
        parser.error(f"unknown arguments: {' '.join(overrides)}")
    return options, overrides


def train(options: argparse.Namespace, overrides: list[str]) -> None:
    """Trains through the same door as every training; its progress bar goes straight to the screen."""
    command = [sys.executable, str(ROOT / "train_keras.py"), f"--config={ROOT / 'configs' / 'digits_nest.py'}"]
    command += [f"--workdir={options.workdir}", f"--config.seed={options.seed}"]
    command += [f"--config.num_epochs={options.epochs}", f"--config.warmup_epochs={options.epochs // 5}", *overrides]
    # What an earlier demonstration left may go, other trainings may not.
    if options.workdir == WORKDIR or (options.workdir / "summary.json").exists():
        command.append("--overwrite")
    finished = subprocess.run(command, check=False)
    if finished.returncode:
        sys.exit(finished.returncode)


def predict_elsewhere(saved_model: pathlib.Path, images: np.ndarray) -> np.ndarray:
    """Logits (N, classes) of the export, from a process that never imports this package; uint8 images (N, H, W, C)."""
    with tempfile.TemporaryDirectory() as folder:
        images_file, logits_file = pathlib.Path(folder, "images.npy"), pathlib.Path(folder, "logits.npy")
        np.save(images_file, images.astype(np.float32) / 255)
        script = ROOT / "examples" / "use_saved_model.py"
        command = [sys.executable, str(script), str(saved_model.resolve()), str(images_file), str(logits_file)]
        finished = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
        if finished.returncode:
            sys.exit(f"The export could not be used:\n{finished.stderr}")
        return np.load(logits_file)


def summarize(
    workdir: pathlib.Path, labels: np.ndarray, logits: np.ndarray, exported_logits: np.ndarray
) -> dict[str, Any]:
    """What the demonstration measured: labels (N,), logits (N, classes) -> content of summary.json."""
    metrics = json.loads((workdir / "metrics.json").read_text("utf-8"))
    difference = float(np.max(np.abs(logits - exported_logits)))
    same_classes = np.array_equal(np.argmax(logits, 1), np.argmax(exported_logits, 1))
    return {
        "parameters": metrics["parameters"],
        "train_seconds": round(metrics["train_seconds"], 1),
        "test_accuracy": float(np.mean(np.argmax(exported_logits, 1) == labels)),
        "test_errors": int(np.sum(np.argmax(exported_logits, 1) != labels)),
        "test_images": len(labels),
        "export_bytes": sum(file.stat().st_size for file in (workdir / "saved_model").rglob("*") if file.is_file()),
        "max_abs_diff": difference,
        "same_predictions": bool(same_classes and difference <= TOLERANCE),
        "seed": metrics["seed"],
        "epochs": metrics["epochs"],
    }


def show(summary: dict[str, Any], workdir: pathlib.Path) -> None:
    """Prints the summary as a table."""
    facts = {
        "parameters": summary["parameters"],
        "training time": f"{summary['train_seconds']:.0f} s for {summary['epochs']:.3g} epochs",
        "test accuracy of the export": f"{summary['test_accuracy']:.2%}",
        "misread images": f"{summary['test_errors']} of {summary['test_images']}",
        "size of the export": f"{summary['export_bytes'] / 1e6:.1f} MB",
        "largest difference, model to export": f"{summary['max_abs_diff']:.1e}",
    }
    print_facts("NesT on handwritten digits", facts)
    print(f"Everything lies in {workdir}; look at {workdir / 'demo.png'}.")


if __name__ == "__main__":
    main()
