"""A Keras model whose train step plays generator against discriminator."""

from typing import Any

import keras
import tensorflow as tf

from keras_nest.backends import require_tensorflow
from keras_nest.generative.discriminator import Discriminator
from keras_nest.generative.generator import NesTGenerator
from keras_nest.generative.losses import discriminator_loss, generator_loss, r1_penalty, random_shift

METRICS = ("generator_loss", "discriminator_loss", "r1_penalty", "real_score", "fake_score")


class GanTrainer(keras.Model):
    """Trains a generator with `compile` and `fit`, on one device, on batches of images in [-1, 1] and labels.

    >>> trainer = GanTrainer(NesTGenerator(32, num_classes=10), Discriminator(32, num_classes=10))
    >>> trainer.compile()
    >>> trainer.fit(train, steps_per_epoch=4000, shuffle=False)
    >>> images = trainer.average.sample(100)

    A step is one update of the discriminator and one of the generator. The average of the generator's weights, which
    samples better than the weights themselves, is in `average`; its memory grows with the training, so that the first
    weights are soon forgotten.

    Args:
        generator: of images in [-1, 1].
        discriminator: of images of that size and as many classes.
        r1_gamma: weight of the gradient penalty, 0 for none.
        r1_every: the penalty is taken in each so many-th step, with so many times the weight.
        ema_decay: share that the average keeps each step.
        max_shift: pixels by which the images that the discriminator sees are moved at random.
        seed: of noise, classes and moves.

    Raises:
        ValueError: the two do not fit each other, a number is out of range, or Keras does not run on TensorFlow.
    """

    def __init__(
        self,
        generator: NesTGenerator,
        discriminator: Discriminator,
        r1_gamma: float = 0.1,
        r1_every: int = 8,
        ema_decay: float = 0.999,
        max_shift: int = 0,
        seed: int = 0,
    ) -> None:
        require_tensorflow("GanTrainer", "train with the command keras-nest train")
        super().__init__(name=f"{generator.name}_trainer")
        _check_fit(generator, discriminator)
        _check_numbers(r1_gamma, r1_every, ema_decay, max_shift)
        self.generator, self.discriminator = generator, discriminator
        self.average = NesTGenerator.from_config(generator.get_config())
        self.average.set_weights(generator.get_weights())
        self.average.trainable = False
        self.r1_gamma, self.r1_every = r1_gamma, r1_every
        self.ema_decay, self.max_shift = ema_decay, max_shift
        self.seeds = keras.random.SeedGenerator(seed, name="seeds")
        self.steps_done = self.add_weight(name="steps_done", shape=(), dtype="int32", trainable=False)
        self.means = [keras.metrics.Mean(name=name) for name in METRICS]
        self.built = True

    def compile(
        self,
        learning_rate: float = 3e-4,
        discriminator_learning_rate: float = 1e-3,
        beta_1: float = 0.0,
        beta_2: float = 0.99,
        jit_compile: bool | str = "auto",
    ) -> None:
        """Makes the two optimizers, Adam.

        Args:
            learning_rate: of the generator.
            discriminator_learning_rate: of the discriminator, which must not fall behind.
            beta_1: memory of the gradient.
            beta_2: memory of its square.
            jit_compile: as for every Keras model.
        """
        rates = (learning_rate, discriminator_learning_rate)
        optimizers = [keras.optimizers.Adam(rate, beta_1, beta_2, epsilon=1e-8) for rate in rates]
        super().compile(optimizer=optimizers[0], loss=None, jit_compile=jit_compile)
        self.discriminator_optimizer = optimizers[1]
        for optimizer, model in zip(optimizers, (self.generator, self.discriminator), strict=True):
            optimizer.build(model.trainable_variables)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Means over the steps since `reset_metrics`; `fit` resets them every epoch."""
        return self.means

    @property
    def state(self) -> dict[str, list[keras.Variable]]:
        """All that a training which goes on needs, by kind."""
        networks = (self.generator, self.discriminator, self.average)
        variables = [variable for network in networks for variable in network.variables]
        variables += [self.seeds.state, self.steps_done]
        optimizers = [*self.optimizer.variables, *self.discriminator_optimizer.variables]
        return {"model": variables, "optimizer": optimizers}

    def call(self, inputs: Any) -> Any:
        return self.average(inputs, training=False)

    def save(self, filepath: Any, *arguments: Any, **options: Any) -> None:
        """Saves the average of the generator."""
        self.average.save(filepath, *arguments, **options)

    def train_step(self, data: Any) -> dict[str, Any]:
        """One update of both; images (B, H, W, C) in [-1, 1], integer labels (B,)."""
        images, labels = data
        batch = tf.shape(images)[0]
        measured = self._train_discriminator(images, labels, batch) | self._train_generator(batch)
        self.steps_done.assign_add(1)
        self._update_average()
        for metric in self.means:
            if metric.name in measured:
                metric.update_state(measured[metric.name])
        return self.get_metrics_result()

    def _train_discriminator(self, images: tf.Tensor, labels: tf.Tensor, batch: tf.Tensor) -> dict[str, tf.Tensor]:
        fake, classes = self._generate(batch)
        fake, images = self._shift(fake), self._shift(images)
        with tf.GradientTape() as tape:
            real_scores = self._score(images, labels)
            fake_scores = self._score(fake, classes)
            loss = discriminator_loss(real_scores, fake_scores)
            penalty = self._penalty(images, labels)
            total = loss + 0.5 * self.r1_gamma * self.r1_every * penalty
        self._apply(tape, total, self.discriminator, self.discriminator_optimizer)
        return {
            "discriminator_loss": loss,
            "r1_penalty": penalty * self.r1_every,
            "real_score": tf.reduce_mean(real_scores),
            "fake_score": tf.reduce_mean(fake_scores),
        }

    def _train_generator(self, batch: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.GradientTape() as tape:
            fake, classes = self._generate(batch)
            loss = generator_loss(self._score(self._shift(fake), classes))
        self._apply(tape, loss, self.generator, self.optimizer)
        return {"generator_loss": loss}

    def _penalty(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """The gradient penalty in the steps that have one, 0 in the others."""
        if not self.r1_gamma:
            return tf.zeros(())
        is_due = tf.equal(self.steps_done.value % self.r1_every, 0)
        return tf.cond(is_due, lambda: r1_penalty(lambda x: self._score(x, labels), images), lambda: tf.zeros(()))

    def _generate(self, batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Images of random classes, and these classes."""
        noise = keras.random.normal((batch, self.generator.config["latent_dim"]), seed=self.seeds)
        if not self.generator.num_classes:
            return self.generator(noise, training=True), None
        classes = keras.random.randint((batch,), 0, self.generator.num_classes, seed=self.seeds)
        return self.generator([noise, classes], training=True), classes

    def _score(self, images: tf.Tensor, classes: tf.Tensor | None) -> tf.Tensor:
        has_classes = bool(self.discriminator.config["num_classes"])
        return self.discriminator([images, classes] if has_classes else images, training=True)

    def _shift(self, images: tf.Tensor) -> tf.Tensor:
        return random_shift(images, self.max_shift, tf.cast(self.seeds.next(), tf.int32))

    def _apply(self, tape: tf.GradientTape, loss: tf.Tensor, model: keras.Model, optimizer: Any) -> None:
        variables = model.trainable_variables
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        # That of an embedding is sparse, and Keras would square its parts before it sums them.
        optimizer.apply(list(map(tf.convert_to_tensor, gradients)), variables)

    def _update_average(self) -> None:
        steps = tf.cast(self.steps_done.value, tf.float32)
        # (1 + t) / (10 + t) as in TensorFlow's own moving average.
        decay = tf.minimum(self.ema_decay, (1 + steps) / (10 + steps))
        for mean, value in zip(self.average.weights, self.generator.weights, strict=True):
            mean.assign(decay * mean.value + (1 - decay) * value.value)


def _check_fit(generator: NesTGenerator, discriminator: Discriminator) -> None:
    ours, theirs = generator.config, discriminator.config
    made = (*ours["image_size"], ours["out_channels"], ours["num_classes"])
    judged = (*theirs["image_size"], theirs["in_channels"], theirs["num_classes"])
    if made != judged:
        raise ValueError(
            f"The generator makes images of (height, width, channels, classes) {made}, the discriminator takes "
            f"{judged}; they must agree."
        )


def _check_numbers(r1_gamma: float, r1_every: int, ema_decay: float, max_shift: int) -> None:
    if r1_gamma < 0 or r1_every < 1:
        raise ValueError(f"r1_gamma is {r1_gamma} and r1_every {r1_every}; they must be at least 0 and 1.")
    if not 0 <= ema_decay < 1:
        raise ValueError(f"ema_decay is {ema_decay}; it must be at least 0 and below 1.")
    if max_shift < 0:
        raise ValueError(f"max_shift is {max_shift}; it must be 0 or more pixels.")
