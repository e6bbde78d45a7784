"""`tensorflowjs_converter`, without a package whose operations no model of ours has."""

import sys
import types

# It registers the operations of decision forests, and is nothing that can be imported beside TensorFlow 2.20 or later.
sys.modules["tensorflow_decision_forests"] = types.ModuleType("tensorflow_decision_forests")

from tensorflowjs.converters import converter  # noqa: E402

if __name__ == "__main__":
    converter.pip_main()
