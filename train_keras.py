"""Trains a model: `python train_keras.py --config=configs/digits_nest.py --workdir=DIR [--config.seed=3 …]`."""

import sys

from keras_nest_start import asked_backend, quiet_start

with quiet_start(asked_backend(sys.argv)):
    from keras_nest.cli.train import run

if __name__ == "__main__":
    run()
