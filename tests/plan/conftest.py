"""A tiny random policy, for the tests that compare closed forms with what torch counts."""

import pytest

from tests.support import tiny_policy
from videossr.models.checkpoint import load_model, load_processor


@pytest.fixture(scope="package")
def tiny(tmp_path_factory):
    """Model and processor of a tiny random policy."""
    folder = tiny_policy.write_tiny(tmp_path_factory.mktemp("tiny-random"))
    model = load_model(folder, "float32")
    model.set_attn_implementation("eager")  # torch counts the operations of this implementation
    return model, load_processor(folder)
