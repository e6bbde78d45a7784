"""Sharpness-aware minimization: SAM and GSAM."""

import dataclasses
from collections.abc import Callable
from typing import Any, Self

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="keras_nest")
@dataclasses.dataclass(frozen=True)
class SharpnessAware:
    """Takes the gradient at the point near the weights where the loss is highest, to first order.

    SAM (Foret et al. 2021) is rho alone; GSAM (Zhuang et al. 2022) lets the radius follow the learning rate and takes
    away, times alpha, what of the gradient at the weights is vertical to that at the perturbed ones. Each replica
    perturbs by the gradient of its own images, as published ("m-sharpness"), so that the number of replicas matters.

    Source: `vit_jax/gsam.py`.

    Args:
        rho: radius of the perturbation, at the highest learning rate.
        rho_min: radius at the lowest one; None is `rho`.
        alpha: weight of the vertical part; 0 is SAM.
        max_rate: learning rate where the radius is `rho`; needed if it varies.
        min_rate: learning rate where it is `rho_min`.

    Raises:
        ValueError: a value is out of range.
    """

    rho: float
    rho_min: float | None = None
    alpha: float = 0.0
    max_rate: float | None = None
    min_rate: float = 0.0

    def __post_init__(self) -> None:
        if self.rho <= 0:
            raise ValueError(f"rho is {self.rho}; it must be positive.")
        if self.varies and (self.max_rate is None or self.max_rate <= self.min_rate):
            raise ValueError(f"max_rate is {self.max_rate}; with rho_min it must be above min_rate, {self.min_rate}.")

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Inverse of `get_config`."""
        return cls(**config)

    @property
    def varies(self) -> bool:
        """Whether the radius follows the learning rate."""
        return self.rho_min is not None and self.rho_min != self.rho

    def radius(self, rate: Any) -> Any:
        """Radius at a learning rate, scalar."""
        if self.rho_min is None or self.max_rate is None:
            return self.rho
        return self.rho_min + (self.rho - self.rho_min) * (rate - self.min_rate) / (self.max_rate - self.min_rate)

    def gradients(
        self, clean: list[tf.Tensor], variables: list[tf.Variable], again: Callable[[], list[tf.Tensor]], rate: Any
    ) -> list[tf.Tensor]:
        """The gradient to follow.

        Args:
            clean: gradient at the weights, of this replica.
            variables: the weights; they are moved, and put back.
            again: computes the gradient of the same images at the weights as they are then.
            rate: learning rate of the update.
        """
        length = tf.linalg.global_norm(clean)
        weights = [tf.identity(variable) for variable in variables]
        for variable, gradient in zip(variables, clean, strict=True):
            variable.assign_add(self.radius(rate) / (length + 1e-12) * gradient)
        perturbed = again()
        for variable, weight in zip(variables, weights, strict=True):
            variable.assign(weight)
        if not self.alpha:
            return perturbed
        # Both gradients are shares of a mean over replicas, which the directions do not depend on.
        squared = sum(tf.reduce_sum(p * p) for p in perturbed)
        along = sum(tf.reduce_sum(p * c) for p, c in zip(perturbed, clean, strict=True)) / squared
        return [p - self.alpha * (c - along * p) for p, c in zip(perturbed, clean, strict=True)]
