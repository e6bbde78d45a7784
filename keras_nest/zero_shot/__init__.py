"""Classes and captions that are given as texts: what LiT takes images for without being trained on them.

>>> model = keras_nest.create_model("LiT-B16B_2", weights="LiT-B16B_2.npz")
>>> tokenizer = keras_nest.get_tokenizer("LiT-B16B_2.txt")
>>> classifier = ZeroShotClassifier(model, tokenizer, ["a dog", "a cat"])
>>> probabilities = classifier.probabilities([image])  # float32 (1, 2)
"""

from keras_nest.zero_shot.classifier import Embedder, ZeroShotClassifier
from keras_nest.zero_shot.retrieval import Recalls, retrieval_recalls

__all__ = ["Embedder", "Recalls", "ZeroShotClassifier", "retrieval_recalls"]
