"""Uses an exported model where neither this package nor Keras is needed, only TensorFlow.

python examples/use_saved_model.py SAVED_MODEL IMAGES.npy LOGITS.npy

IMAGES.npy holds float32 images (N, H, W, C) in [0, 1]; LOGITS.npy gets the logits (N, classes).
"""

import sys

import numpy as np
import tensorflow as tf

BATCH = 120

saved_model, images_file, logits_file = sys.argv[1:]
model = tf.saved_model.load(saved_model)
images = np.load(images_file)
logits = [model(images[start : start + BATCH]) for start in range(0, len(images), BATCH)]
np.save(logits_file, np.concatenate(logits))

own = {name.partition(".")[0] for name in sys.modules} & {"keras_nest", "conversion", "export"}
if own:
    sys.exit(f"The export was to be used without this package, but {', '.join(sorted(own))} has been imported.")
