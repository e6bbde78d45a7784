"""Tables of the README and of docs/, from the files in results/ that the benchmarks write.

`python -m benchmarks.tables` replaces what stands between `<!-- table: NAME -->` and `<!-- end of table -->` in every
page, for each NAME of `TABLES`; nobody types a measured number twice.
"""

import json
import re
from collections.abc import Callable

from benchmarks import cores
from benchmarks.input_pipeline import KERAS, REFERENCE
from benchmarks.model_tables import exactness, published_models, selected_models, timm_names
from benchmarks.speed_tables import forward, latency, peers, speed, startup, train_step
from benchmarks.table_cells import RESULTS, ROOT, difference, markdown, ratio, read_rows
from keras_nest.console import console

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_TABLE = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)
# Train steps of tpu_check.csv and tpu_check_full.csv.
_TPU_STEPS = {
    "NesT-T 224, batch 64": "NesT-T 224, 64 images",
    "NesT": "NesT, toy, images normalized, erased and mixed in the step",
    "NesT, SAM, float32": "NesT, toy, SAM, float32",
    "vit-flax NesT": "vit-flax NesT, toy",
    "ViT": "ViT, toy, in 2 accumulated parts",
    "ViT hybrid": "ViT hybrid, toy",
    "MLP-Mixer": "MLP-Mixer, 2 blocks",
    "ResNet": "ResNet-18, 32 pixels, float32",
    "LiT": "LiT, toy, both towers, on one core",
    "NesT, JAX": "JAX: NesT, toy",
    "vit-flax NesT, JAX": "JAX: vit-flax NesT, toy",
    "ViT, JAX": "JAX: ViT, toy, in 2 accumulated parts",
    "ViT, JAX, 2 x 2 cores": "JAX: the same on 4 cores, of which each pair divides the weights",
    "ViT hybrid, JAX": "JAX: ViT hybrid, toy",
    "MLP-Mixer, JAX": "JAX: MLP-Mixer, 2 blocks",
    "ResNet, JAX": "JAX: ResNet-18, 32 pixels, float32",
    "LiT, JAX": "JAX: LiT, toy, both towers",
    "ViT-H/14 224, batch 8, JAX, 4 cores": "JAX: ViT-H/14 224, 8 images, on 4 cores that share the weights",
}
_STAGES = {
    "decode, crop, normalize": "decoding, random resized crop, normalization",
    "randaugment": "flip, RandAugment",
    "color_jitter": "color jitter",
    "erasing": "random erasing",
    "mix": "mixup or CutMix",
}


def main() -> None:
    """Writes the tables into all pages."""
    for page in PAGES:
        text = page.read_text("utf-8")
        if (written := with_tables(text)) != text:
            page.write_text(written, "utf-8")
            console.print(f"{page.relative_to(ROOT)} updated.")


def with_tables(page: str) -> str:
    """A page with its tables as results/ has them.

    Raises:
        KeyError: the page asks for a table that there is not.
    """
    return _TABLE.sub(lambda found: f"{found[1]}{TABLES[found[2]]()}\n{found[3]}", page)


def input_pipeline() -> str:
    """Cost of the stages of the input pipeline, added up."""
    rows = [
        [_STAGES[row["candidate"]], f"{float(row['median ms']):.2f}", f"{float(row['images/s']):,.0f}"]
        for row in read_rows("input_pipeline")
        if row["candidate"] in _STAGES
    ]
    return markdown(["everything up to", "ms an image", "images/s"], rows, "lrr")


def input_reference() -> str:
    """The whole recipe here, in layers of Keras and in NesT's own code."""
    rows = {row["candidate"]: float(row["median ms"]) for row in read_rows("input_pipeline_reference")}
    names = {"mix": "here", REFERENCE: "NesT's own code", KERAS: "the nearest of `keras.layers`"}
    cells = [[name, f"{rows[key]:.2f}", ratio(str(rows[key] / rows["mix"]))] for key, name in names.items()]
    return markdown(["NesT's recipe, whole", "ms an image", "ratio"], cells, "lrr")


def input_cores() -> str:
    """Cores that feed accelerators."""
    header, *rows = cores.table(cores.measured(RESULTS))
    return markdown(["images/s of the step: cores", *header[1:]], ([f"`{row[0]}`", *row[1:]] for row in rows), "lrrr")


def data_efficiency() -> str:
    """Test accuracy with few training images."""
    rows: dict[str, list[str]] = {"NesT": ["NesT"], "MLP-Mixer": ["MLP-Mixer"], "ViT": ["ViT"]}
    for row in read_rows("data_efficiency"):
        mean, low, high = (f"{float(row[column]):.1f}" for column in ("mean accuracy %", "lowest", "highest"))
        rows[row["model"]].append(f"{mean} % ({low} to {high})")
    header = ["test accuracy (lowest to highest)", "10 a class", "20", "50", "all"]
    return markdown(header, rows.values(), "lrrrr")


def gradcat() -> str:
    """Where GradCAT and the class activation map end."""
    right = {(row["canvas"], row["method"]): float(row["right %"]) for row in read_rows("gradcat")}
    undecided = {
        row["canvas"]: float(row["undecided %"]) for row in read_rows("gradcat") if row["method"] == "GradCAT, +"
    }
    names = {
        "GradCAT, +": "GradCAT",
        "GradCAT, -": "GradCAT with the minus sign that the paper writes",
        "class activation map": "peak of the class activation map",
        "by chance": "by chance",
    }
    rows = [[name, *(f"{right[canvas, method]:.1f} %" for canvas in undecided)] for method, name in names.items()]
    rows.insert(
        1, ["of its paths undecided, where no quadrant stands out", *(f"{u:.1f} %" for u in undecided.values())]
    )
    return markdown(["ends in the digit's cell", "2 x 2 cells", "4 x 4, 12 of them empty"], rows, "lrr")


def tflite_recipes() -> str:
    """Kinds of TFLite files against each other."""
    rows = read_rows("tflite_recipes")
    header = ["model", "file", "MB", "same class", "difference of a logit", "largest", "ms, 1 thread", "of float32"]
    cells = [
        [
            row["model"],
            row["recipe"],
            row["MB"],
            f"{float(row['same class %']):.1f} %" if row["model"].startswith("NesT, ") else "",
            difference(row["max diff"]) if row["model"].startswith("NesT, ") else "",
            row["largest logit"] if row["model"].startswith("NesT, ") else "",
            f"{float(row['median ms']):.2f}",
            f"{float(row['x float32']):.2f}",
        ]
        for row in rows
    ]
    return markdown(header, cells, "llrrrrrr")


def browser() -> str:
    """An image in Chromium, beside TFLite in Python."""
    found: dict[str, list[str]] = {}
    visits = ("first answer ms", "at the next visit ms")
    for row in read_rows("browser"):
        seconds = (row[visit] and f"{float(row[visit]) / 1e3:.1f} s" for visit in visits)
        cells = [f"{float(row['median ms']):.0f}", ratio(row["x TFLite"]), *seconds]
        found[row["way"]] = [*found.get(row["way"], [row["way"]]), *cells]
    names = ["times TFLite in Python", "first answer", "next visit"]
    header = ["", *(name for model in ("NesT-T", "ViT-S/16") for name in (f"{model}: ms", *names))]
    return markdown(header, found.values(), "l" + 8 * "r")


def quantization() -> str:
    """Size, accuracy and agreement with float of quantized models."""
    rows = [
        [
            row["data"],
            row["weights"],
            f"{float(row['kB']):.0f}",
            f"{float(row['accuracy %']):.1f} %",
            f"{float(row['same class as float %']):.1f} %",
            difference(row["largest difference"]),
        ]
        for row in read_rows("quantization")
    ]
    header = ["", "", "kB of weights", "accuracy", "same class as float", "largest difference"]
    return markdown(header, rows, "llrrrr")


def cross_validation() -> str:
    """What the memory of a process grows by in each fold."""
    names = ("parameters", "variables", "MB a fold", "MB a fold, garbage collected")
    measured = read_rows("cross_validation")
    rows = [[row["candidate"], f"{int(row[names[0]]):,}", *(row[name] for name in names[1:])] for row in measured]
    return markdown(["", *names], rows, "lrrrr")


def load() -> str:
    """What became of the requests of many clients, and of the server's memory."""
    memory = ("MB at start", "MB in the middle", "MB at the end")
    rows = [
        [
            f"{row['model']}, {row['protocol']}",
            *(f"{int(row[name]):,}" for name in ("good", "bad", "wrong", "lost")),
            *(row[name] for name in ("requests/s", "p50 ms", "p99 ms")),
            ", ".join(f"{int(row[name]):,}" for name in memory),
            f"{row['of them answered']} of {row['in flight at the stop']}",
        ]
        for row in read_rows("load")
    ]
    header = ["", "answered right", "bad, refused", "wrong", "lost", "requests/s", "p50 ms", "p99 ms"]
    return markdown([*header, "MB at start, middle, end", "answered at the stop"], rows, "l" + 9 * "r")


def licenses() -> str:
    """What an installation with all extras brings."""
    return markdown(["package", "license"], [[*row.values()] for row in read_rows("licenses")], "ll")


def tpu_check() -> str:
    """What the TPU's compiler says that train steps need."""
    measured = [*read_rows("tpu_check_full"), *read_rows("tpu_check")]
    kinds = list(dict.fromkeys(row["tpu"] for row in measured))
    rows = []
    for step, name in _TPU_STEPS.items():
        of_step = [row for row in measured if row["step"] == step]
        found = [row["tpu"] for row in of_step]
        name = name if found == kinds else f"{name} ({', '.join(found)} alone)"
        is_toy = float(of_step[0]["memory_MB"]) < 1000
        memory = ", ".join(f"{float(row['memory_MB']):,.{1 if is_toy else 0}f}" for row in of_step)
        rows.append([name, memory, f"{float(of_step[0]['GFLOPs']):,.{2 if is_toy else 0}f}"])
    return markdown(["train step", f"memory on {', '.join(kinds)} in MB", "GFLOP"], rows, "lrr")


def demonstration() -> str:
    """What `make demo` left, see `make bench`."""
    found = json.loads((RESULTS / "demonstration.json").read_text("utf-8"))
    wrong = f"{found['test_errors']} of {found['test_images']} misread"
    rows = [
        ["parameters", f"{found['parameters']:,}"],
        [f"training time, {found['epochs']:.3g} epochs on 2 shared cores", f"{found['train_seconds']:.0f} s"],
        ["test accuracy", f"{found['test_accuracy']:.2%} ({wrong})".replace("%", " %", 1)],
        ["size of the SavedModel", f"{found['export_bytes'] / 1e6:.1f} MB"],
        ["largest difference between model and SavedModel", f"{found['max_abs_diff']:.1e}"],
    ]
    return markdown(["", ""], rows, "lr")


def finetune() -> str:
    """Fine-tuning beside training from scratch."""
    rows = []
    for row in read_rows("finetune"):
        mean, low, high = (f"{float(row[column]):.1f}" for column in ("mean accuracy %", "lowest", "highest"))
        seconds, steps = float(row["median seconds of training"]), int(row["median steps"])
        rows.append(
            [row["crops a class"], row["candidate"], f"{mean} % ({low} to {high})", f"{seconds:.0f} s", f"{steps:,}"]
        )
    return markdown(
        ["images a class", "begins with", "test accuracy (lowest to highest)", "training", "steps"], rows, "rlrrr"
    )


def interruptions() -> str:
    """Table of the guide to trainings: what signals cost, and what other devices and machines change."""
    rows, costs = [], ("median ms of an agreement", "median ms of a checkpoint")
    for row in read_rows("interruptions"):
        same = {"yes": "bit for bit", "no": "no"}.get(row["same bits at the end"])
        rows.append(
            [
                row["training"],
                row["signals"],
                row["most steps lost"],
                same or f"losses to {difference(row['largest difference of a loss'])}",
                *(f"{float(row[column]):.3g} ms" if row[column] else "" for column in costs),
            ]
        )
    header = ["", "signals", "most steps lost", "ends as an undisturbed one", "agreement, a step", "a checkpoint"]
    return markdown(header, rows, "lrrlrr")


TABLES: dict[str, Callable[[], str]] = {
    function.__name__.replace("_", "-"): function
    for function in (
        published_models,
        timm_names,
        selected_models,
        exactness,
        forward,
        peers,
        train_step,
        startup,
        speed,
        input_pipeline,
        input_reference,
        input_cores,
        data_efficiency,
        gradcat,
        latency,
        tflite_recipes,
        browser,
        quantization,
        cross_validation,
        load,
        licenses,
        tpu_check,
        demonstration,
        finetune,
        interruptions,
    )
}


if __name__ == "__main__":
    main()
