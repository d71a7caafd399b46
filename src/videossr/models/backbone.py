"""The parts of a policy's model, whatever wraps it."""

from typing import Any

from torch.distributed.fsdp import FSDPModule


def unwrap(model: Any) -> Any:
    """The model without the wrapper of data-parallel training, if it has one."""
    return getattr(model, "module", model)


def backbone(model: Any) -> Any:
    """The module that holds the vision tower and the language model, without head, adapters or wrapper."""
    inner = unwrap(model)
    return (inner.get_base_model() if hasattr(inner, "get_base_model") else inner).model


def gather_head(model: Any) -> None:
    """Have FSDP2 gather the output layer in each forward pass, before its weight is read.

    TRL's fused head reads the weight without calling the layer. Where the output layer is a shard of its own (it is
    not tied to the embedding), the weight would still be sharded, its bias (`mask_vision_tokens`) would not be, and the
    processes' gradients would not be averaged.
    """

    def gather(*unused: Any) -> None:
        head = unwrap(model).get_output_embeddings()
        if isinstance(head, FSDPModule):
            head.unshard()

    backbone(model).register_forward_hook(gather)
