"""Large-scale pre-training and full or few-shot transfer of BiT networks, in Keras 3.

Importing this package starts nothing: TensorFlow is loaded by the sub-packages that need it.
"""

__version__ = "0.1.0"
