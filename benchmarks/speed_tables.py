"""Tables of how fast models are, and what they take."""

from benchmarks.table_cells import SHORT_NAMES, difference, markdown, ratio, read_rows

# Columns of forward.csv and train_step.csv, as the pages name them.
_CANDIDATES = {
    "Keras, graph": "Keras as a graph",
    "Keras, XLA": "Keras under XLA",
    "Keras, graph, bfloat16": "in mixed_bfloat16",
    "Keras, graph, clipped": "with clipping",
    "Keras, graph, average of weights": "with an average of the weights",
    "Keras, graph, 2 parts": "in 2 accumulated micro-batches",
    "Keras, graph, fed by the input pipeline": "fed by the input pipeline on the same cores",
    "Flax, jax.jit": "Flax under `jax.jit`",
    "Flax and optax, jax.jit": "Flax and optax under `jax.jit`",
    "limit: matmul (TensorFlow)": "matrix products alone",
}


def forward() -> str:
    """Milliseconds of a forward pass against Flax."""
    rows: dict[str, list[str]] = {}
    for row in read_rows("forward"):
        rows.setdefault(row["candidate"], [_CANDIDATES[row["candidate"]]])
        rows[row["candidate"]] += [f"{float(row['median ms']):.1f} ms", ratio(row["times Flax"])]
    header = ["NesT-T at 224, float32", "batch 1", "times Flax", "batch 8", "times Flax"]
    return markdown(header, rows.values(), "lrrrr")


def peers() -> str:
    """Milliseconds of a forward pass in all that runs it, and times those of the matrix products alone."""
    rows = read_rows("peers")
    columns = list(dict.fromkeys((row["model"], row["batch"]) for row in rows))
    cells: dict[str, dict[tuple[str, str], str]] = {}
    for row in rows:
        cell = f"{float(row['median ms']):.0f} ms ({float(row['times limit']):.2f})"
        cells.setdefault(row["candidate"], {})[row["model"], row["batch"]] = cell
    header = ["", *(f"{SHORT_NAMES[model]}, batch {batch}" for model, batch in columns)]
    lines = [[name, *(found.get(column, "") for column in columns)] for name, found in cells.items()]
    return markdown(header, lines, "l" + len(columns) * "r")


def train_step() -> str:
    """Milliseconds of a train step against Flax."""
    rows = [
        [_CANDIDATES[row["candidate"]], f"{float(row['median ms']):.0f}", ratio(row["times Flax"])]
        for row in read_rows("train_step")
    ]
    return markdown(["NesT-T at 224, batch 8", "ms a step", "times Flax"], rows, "lrr")


def startup() -> str:
    """Seconds until the first answer of a new process."""
    rows = [
        [f"`{row['candidate']}`", f"{float(row['median s']):.1f}", f"{float(row['more than Keras, s']):+.1f}"]
        for row in read_rows("startup")
    ]
    return markdown(["", "seconds", "more than `import keras`"], rows, "lrr")


def speed() -> str:
    """Forward pass, train step and exported file of the README."""
    passes = {(row["batch"], row["candidate"]): row for row in read_rows("forward")}
    steps = {row["candidate"]: row for row in read_rows("train_step")}
    files = {(row["model"], row["threads"], row["candidate"]): row for row in read_rows("latency")}
    rows = [
        ("forward, batch 1, XLA", passes["1", "Keras, XLA"], passes["1", "Flax, jax.jit"]),
        ("forward, batch 8, XLA", passes["8", "Keras, XLA"], passes["8", "Flax, jax.jit"]),
        ("train step, batch 8", steps["Keras, graph"], steps["Flax and optax, jax.jit"]),
    ]
    cells = [
        [name, f"{float(ours['median ms']):.0f} ms", f"{float(theirs['median ms']):.0f} ms", ratio(ours["times Flax"])]
        for name, ours, theirs in rows
    ]
    lite = files["nest_tiny_s196_224", "2", "TFLite dynamic_int8"]
    cells.append(["TFLite, 8-bit weights, one image", f"{float(lite['median ms']):.0f} ms", "", ""])
    return markdown(["NesT-T at 224 pixels", "here", "Flax under `jax.jit`", "ratio"], cells, "lrrr")


def latency() -> str:
    """Files, differences and latency of exported models."""
    found = {(row["model"], row["threads"], row["candidate"]): row for row in read_rows("latency")}
    rows = []
    for candidate in dict.fromkeys(candidate for _, _, candidate in found):
        cells = [candidate.removeprefix("TFLite ").replace("Keras predict", "Keras, `predict`")]
        for model in ("nest_tiny_s196_224", "ViT-S_16"):
            one, two = (found[model, threads, candidate] for threads in "12")
            size = f"{float(one['MB']):.1f}" if one["MB"] else ""
            cells += [
                size,
                difference(one["max diff"]),
                f"{float(one['median ms']):.0f}",
                f"{float(two['median ms']):.0f}",
            ]
        rows.append(cells)
    names = ("MB", "difference", "ms, 1 thread", "2 threads")
    header = [
        "",
        *(f"{model}: {names[0]}" if i == 0 else names[i] for model in ("NesT-T", "ViT-S/16") for i in range(4)),
    ]
    return markdown(header, rows, "l" + 8 * "r")
