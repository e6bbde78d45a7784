"""Settings that must be there before the frameworks are imported, or before they start."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import tensorflow as tf

# The CPU as two devices, for `tf.distribute`; what names no device runs on the first, as before.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
