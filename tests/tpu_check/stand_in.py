"""Traces `Trainer.fit` under a TPUStrategy whose cores are logical CPU devices; prints what it found."""

import collections

import keras
import numpy as np
import tensorflow as tf

# TensorFlow has no public way to make a TPUStrategy without a TPU.
from tensorflow.python.distribute import tpu_strategy
from tensorflow.python.framework import ops
from tensorflow.python.tpu import tpu, tpu_system_metadata

import keras_nest
from keras_nest.metrics import accuracy
from keras_nest.models.losses import cross_entropy
from keras_nest.training import AdamW, Trainer, distribute

CORES = 2
TASK = "/job:localhost/replica:0/task:0/device"
Device = collections.namedtuple("Device", "name device_type")


class StandIn(tf.distribute.cluster_resolver.ClusterResolver):
    """Says that this machine has TPU cores."""

    environment = ""
    _tpu = ""
    task_type, task_id, rpc_layer = "worker", 0, None

    def cluster_spec(self):
        return None

    def master(self, *_, **__):
        return ""

    def num_accelerators(self, *_, **__):
        return {"TPU": CORES}

    def get_job_name(self):
        return "localhost"

    def get_tpu_system_metadata(self):
        devices = [Device(f"{TASK}:TPU:{core}", "TPU") for core in range(CORES)]
        devices.append(Device(f"{TASK}:CPU:0", "CPU"))
        return tpu_system_metadata.TPUSystemMetadata(
            num_cores=CORES, num_hosts=1, num_of_cores_per_host=CORES, topology=None, devices=devices
        )


def strategy_of_stand_ins():
    """The strategy, its cores being the CPU devices 1 and 2."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * (CORES + 1))
    strategy = tf.distribute.TPUStrategy(StandIn())
    strategy.extended._tpu_devices = np.array([[f"{TASK}:CPU:{core + 1}"] for core in range(CORES)])
    strategy.extended._host_device = f"{TASK}:CPU:0"
    return strategy


def record_clusters(graphs):
    """Keeps the graph of every program that is made for the cores."""
    replicate = tpu.replicate

    def recorded(*arguments, **options):
        outputs = replicate(*arguments, **options)
        graphs.append(ops.get_default_graph())
        return outputs

    tpu_strategy.tpu.replicate = recorded


def in_cluster(operation):
    try:
        operation.get_attr("_tpu_replicate")
    except ValueError:
        return False
    return True


def main():
    """Traces a training with all that the train step can do."""
    strategy, graphs = strategy_of_stand_ins(), []
    record_clusters(graphs)
    with strategy.scope():
        fields = {"image_size": 16, "init_patch_embed_size": 4, "embedding_dim": 8, "num_heads": 2}
        model = keras_nest.create_model(
            "nest_tiny_s16_32", num_layers_per_block=(1, 1), stochastic_depth_drop=0.2, **fields
        )
        trainer = Trainer(model, clip_norm=1.0, accum_steps=2)
        trainer.log_every_step = False
        trainer.compile(AdamW(1e-3, use_ema=True), cross_entropy, metrics=[accuracy])
    images = tf.data.Dataset.from_tensors((tf.zeros((8, 16, 16, 3)), tf.zeros((8,), tf.int32))).repeat()
    batches = distribute(strategy, lambda host: images)
    try:
        trainer.fit(batches, steps_per_epoch=2, verbose=0)
        stopped_at = "the end"
    except tf.errors.OpError as error:
        stopped_at = str(error).split("support Op '")[1].split("'")[0]
    counts = collections.Counter(operation.type for operation in graphs[-1].get_operations() if in_cluster(operation))
    print(f"replicas={strategy.num_replicas_in_sync}")
    print(f"variables={type(model.trainable_variables[0].value).__name__}")
    print(f"parameters={len(model.trainable_variables)}")
    print(f"sums={counts['CrossReplicaSum']}")
    print(f"stopped_at={stopped_at}")


if __name__ == "__main__":
    keras.config.disable_traceback_filtering()
    main()
