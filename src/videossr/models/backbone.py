"""The parts of a policy's model, whatever wraps it."""

from typing import Any


def unwrap(model: Any) -> Any:
    """The model without the wrapper of data-parallel training, if it has one."""
    return getattr(model, "module", model)


def backbone(model: Any) -> Any:
    """The module that holds the vision tower and the language model, without head, adapters or wrapper."""
    inner = unwrap(model)
    return (inner.get_base_model() if hasattr(inner, "get_base_model") else inner).model
