"""Weights of PyTorch models: the files of timm and transformers <-> our Flax trees, without PyTorch.

`safetensors_file` and `pickle_file` read tensors, `rules` say which of theirs is which of ours, `config_file` says what
tensors do not tell, `find` where all that lies, and `write` makes directories that timm and transformers open.
"""
