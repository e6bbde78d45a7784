"""Names of the files and folders that a training leaves in its working directory."""

CONFIG, MODEL, HISTORY, CURVES = "config.json", "model.keras", "history.csv", "curves.png"
CONFUSION, METRICS, CLASSES = "confusion.png", "metrics.json", "classes.txt"
CHECKPOINTS, BOARD = "checkpoints", "tensorboard"
# In the place of the model where a generator is trained.
GENERATOR = "generator.keras"
# Of a LiT: the vocabulary, under the suffix that says what kind it is.
VOCABULARY, VOCABULARIES = "vocab", ("vocab.txt", "vocab.model")
# The metrics are written last: where they lie, the run is finished.
FILES = (CONFIG, MODEL, HISTORY, CURVES, CONFUSION, CLASSES, *VOCABULARIES, METRICS)
FOLDERS = (CHECKPOINTS, BOARD)
