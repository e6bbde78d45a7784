"""How good a model of any kind is on labeled images: what `keras-nest evaluate` measures."""
