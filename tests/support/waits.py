"""A pretended accelerator: it computes on the CPU, and counts how often the host waits for a value of the device.

Tensors of the device are wrappers whose `device` is `meta`, which no real data is on, so that an operation cannot mix
them with tensors of the host unnoticed: mixing raises an error, as on a GPU. Every operation that a GPU would have to
finish before the host goes on is counted: a value or a copy that the host reads, and a result whose size depends on
values.
"""

import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("meta")
aten = torch.ops.aten
# The size of these results depends on values.
_SIZES = {aten.nonzero.default, aten.masked_select.default, aten.unique_consecutive.default, aten._unique2.default}
_READS = {aten._local_scalar_dense.default, aten.is_nonzero.default, aten.equal.default}


class OnDevice(torch.Tensor):
    """A tensor of the pretended device; `values` holds its data, on the CPU."""

    values: torch.Tensor

    @staticmethod
    def __new__(cls, values: torch.Tensor) -> "OnDevice":
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            values.size(),
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            device=DEVICE,
            requires_grad=values.requires_grad,
        )
        made.values = values
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {}, None)

    def tolist(self) -> Any:
        """A read of all values, which torch does not dispatch as an operation."""
        return self.to("cpu").tolist()


class WaitCounter(TorchDispatchMode):
    """Counts the waits inside of it, by operation and by the line of the project that caused it."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()

    @property
    def total(self) -> int:
        return sum(self.waits.values())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {}, self)

    def note(self, func: Any) -> None:
        lines = [frame for frame in traceback.extract_stack() if "/tests/support/waits" not in frame.filename]
        ours = [f for f in lines if "videossr" in f.filename or "trl" in f.filename or "transformers" in f.filename]
        place = ours[-1] if ours else lines[-1]
        self.waits[f"{func} at {place.filename.split('/site-packages/')[-1]}:{place.lineno} {place.line}"] += 1


class _FactoryMode(TorchFunctionMode):
    """`torch.tensor(..., device=...)` is not dispatched as an operation: make it on the host, and copy it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.tensor and torch.device(kwargs.get("device") or "cpu").type == DEVICE.type:
            return func(*args, **{**kwargs, "device": "cpu"}).to(DEVICE)
        return func(*args, **kwargs)


@contextmanager
def count_waits() -> Iterator[WaitCounter]:
    """Count the waits of the body."""
    counter = WaitCounter()
    with (
        patch.object(torch, "is_autocast_enabled", _is_autocast_enabled),
        patch.object(torch, "Generator", _generator),
        _FactoryMode(),
        counter,
    ):
        yield counter


_real_is_autocast_enabled, _RealGenerator = torch.is_autocast_enabled, torch.Generator


def _is_autocast_enabled(device_type: str | None = None) -> bool:
    return device_type != DEVICE.type and _real_is_autocast_enabled(*([device_type] if device_type else []))


def _generator(device: Any = "cpu") -> torch.Generator:
    return _RealGenerator("cpu" if torch.device(device).type == DEVICE.type else device)


def to_device(module: torch.nn.Module) -> None:
    """Move a module's parameters and buffers to the pretended device."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                part._parameters[name] = torch.nn.Parameter(OnDevice(parameter.data), parameter.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = OnDevice(buffer)


def run(func: Any, args: Any, kwargs: dict[str, Any], counter: WaitCounter | None) -> Any:
    """Run one operation on the data inside, and wrap what is on the device."""
    inputs = tree_flatten((args, kwargs))[0]
    on_device = [x for x in inputs if isinstance(x, OnDevice)]
    target = kwargs.get("device")
    if func is aten._fused_sdp_choice.default:
        return 0  # the kernel that is written in plain operations
    if counter is not None and on_device and waits(func, args, kwargs):
        counter.note(func)
    if on_device and func not in (aten._to_copy.default, aten.copy_.default):
        _forbid_mixing(func, inputs)
    plain_args, plain_kwargs = tree_map(_unwrap, (args, kwargs))
    if target is not None:
        plain_kwargs["device"] = torch.device("cpu")
    out = func(*plain_args, **plain_kwargs)
    goes_to_device = torch.device(target).type == DEVICE.type if target is not None else bool(on_device)
    if not goes_to_device or func in _READS:
        return out
    by_values = {id(x.values): x for x in on_device}

    def wrap(x: Any) -> Any:
        if not isinstance(x, torch.Tensor):
            return x
        return by_values[id(x)] if id(x) in by_values else OnDevice(x)

    return tree_map(wrap, out)


def waits(func: Any, args: Any, kwargs: dict[str, Any]) -> bool:
    """Whether the host would wait for the device at this operation."""
    if func in _SIZES or func in _READS:
        return True
    if func in (aten.index.Tensor, aten.index_put.default, aten.index_put_.default):
        return any(isinstance(i, torch.Tensor) and i.dtype in (torch.bool, torch.uint8) for i in args[1])
    if func is aten.repeat_interleave.Tensor:
        return kwargs.get("output_size") is None
    if func is aten._to_copy.default:
        target = kwargs.get("device")
        return target is not None and torch.device(target).type != DEVICE.type
    if func is aten.copy_.default:
        return isinstance(args[1], OnDevice) and not isinstance(args[0], OnDevice)
    return False


def _forbid_mixing(func: Any, inputs: list[Any]) -> None:
    hosts = [x for x in inputs if isinstance(x, torch.Tensor) and not isinstance(x, OnDevice) and x.dim() > 0]
    if hosts and func not in (aten.index.Tensor, aten.index_put_.default, aten.index_put.default):
        raise RuntimeError(f"{func} got tensors of the device and of the host, of shape {tuple(hosts[0].shape)}")


def _unwrap(x: Any) -> Any:
    return x.values if isinstance(x, OnDevice) else x
