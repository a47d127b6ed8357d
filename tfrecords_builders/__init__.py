"""Builders: folders of images and label tables become TFDS folders of TFRecords.

``python -m tfrecords_builders.build --help`` is the way in. Nothing here imports TensorFlow.
"""
