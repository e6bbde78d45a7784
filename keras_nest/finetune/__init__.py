"""Fine-tuning on a folder of photographs: what is found, what is decided, and the training."""
