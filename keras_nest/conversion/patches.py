"""Kernels of patch embeddings for patches of another size.

Source: Beyer et al., "FlexiViT: One Model for All Patch Sizes", CVPR 2023, section 3.4 (arXiv 2212.08013).
"""

import numpy as np

from keras_nest.types import Size


def resize_kernel(kernel: np.ndarray, size: Size) -> np.ndarray:
    """The kernel that gives for resized patches, as nearly as possible, what `kernel` gives for the patches.

    With B, which resizes a flattened patch bilinearly, it is the pseudo-inverse of B^T times the kernel: for larger
    patches <B x, resized> = <x, kernel> for every patch x, for smaller ones the nearest to it for patches of noise.

    Args:
        kernel: (h, w, channels, C).
        size: height and width of the new patches.

    Returns:
        (*size, channels, C), computed in float64, in the dtype of `kernel`.
    """
    # B is the Kronecker product of that of rows and that of columns, and so is its pseudo-inverse.
    rows, columns = (np.linalg.pinv(_bilinear(old, new).T) for old, new in zip(kernel.shape, size, strict=False))
    return np.einsum("yh,hwio,xw->yxio", rows, kernel, columns, optimize=True).astype(kernel.dtype)


def _bilinear(source: int, target: int) -> np.ndarray:
    """Matrix (target, source) that resizes as `tf.image.resize` does: linear, centers of pixels, no antialias."""
    centers = (np.arange(target) + 0.5) * source / target - 0.5
    return np.stack([np.interp(centers, np.arange(source), unit) for unit in np.eye(source)], axis=1)
