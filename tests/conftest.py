"""Shared by all tests: two logical CPU devices, and datasets made by the project's own builders."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
