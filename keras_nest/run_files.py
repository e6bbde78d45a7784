"""Names of the files and folders that a training leaves in its working directory."""

CONFIG, MODEL, HISTORY, CURVES = "config.json", "model.keras", "history.csv", "curves.png"
CONFUSION, METRICS, CLASSES = "confusion.png", "metrics.json", "classes.txt"
CHECKPOINTS, BOARD = "checkpoints", "tensorboard"
CONVERTED = "converted"  # images that TensorFlow does not decode, as long as the training goes on
# In the place of the model where a generator is trained.
GENERATOR = "generator.keras"
# Of a LiT: the vocabulary, under the suffix that says what kind it is.
VOCABULARY, VOCABULARIES = "vocab", ("vocab.txt", "vocab.model")
# Of `keras-nest finetune`: its images, what was asked and decided, the same as a configuration, the head fit at first.
IMAGES, DECISIONS, CONFIG_FILE, PROBE = "images.csv", "finetune.json", "config.py", "probe.npz"
TRACKING = "tracking.txt"  # id of the run in Weights & Biases or MLflow
REPORT = "report.html"  # of how good it is, what it was right and wrong about
MISTAKES = "mistakes.png"  # the images that it was most wrong and most unsure about
# The metrics are written last: where they lie, the run is finished.
_OF_FINE_TUNING = (IMAGES, DECISIONS, CONFIG_FILE, PROBE)
FILES = (
    CONFIG,
    MODEL,
    HISTORY,
    CURVES,
    CONFUSION,
    CLASSES,
    *VOCABULARIES,
    METRICS,
    REPORT,
    MISTAKES,
    TRACKING,
    *_OF_FINE_TUNING,
)
FOLDERS = (CHECKPOINTS, BOARD, CONVERTED)
