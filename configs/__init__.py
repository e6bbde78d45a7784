"""Training configurations, one screen each, with the fields of the papers' own; see `train_keras.py`."""
