"""DeviceArray: a tensor in device memory."""

from __future__ import annotations

import math

import numpy as np

from . import _ptxops
from ._types import TYPES

DL_CPU, DL_CUDA, DL_CUDA_HOST, DL_CUDA_MANAGED = 1, 2, 3, 13


def dense_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides, step = [], 1
    for extent in reversed(shape):
        strides.append(step)
        step *= extent
    return tuple(reversed(strides))


def span(shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    """Elements from the first to the last, both included."""
    if 0 in shape:
        return 0
    return 1 + sum((n - 1) * s for n, s in zip(shape, strides))


class DeviceArray:
    """A tensor in device memory; strides are in elements. Memory is freed with the last reference.

    Not synchronised: `numpy()` and the exports wait for `stream`, the stream of the last op that wrote the array.
    """

    __slots__ = ("context", "ptr", "shape", "strides", "dtype", "stream", "_owner", "_stream_owner", "__weakref__")

    def __init__(self, context, ptr, shape, strides, dtype, owner):
        self.context = context
        self.ptr = ptr
        self.shape = tuple(shape)
        self.strides = tuple(strides)
        self.dtype = dtype
        self.stream = 0
        self._owner = owner
        self._stream_owner = None

    def _ordered_by(self, stream: int, owner) -> None:
        """The array is written on `stream`; `owner` is the object that keeps the stream alive."""
        self.stream = stream
        self._stream_owner = owner

    @property
    def ndim(self) -> int:
        """How many extents."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """How many elements."""
        return math.prod(self.shape)

    def __repr__(self) -> str:
        return f"DeviceArray(shape={self.shape}, dtype={self.dtype}, device={self.context.info['device']}, ptr=0x{self.ptr:x})"

    def numpy(self) -> np.ndarray:
        """A copy in host memory, dense; waits for the array's stream."""
        t = TYPES[self.dtype]
        flat = np.empty(span(self.shape, self.strides) * t.itemsize, np.uint8)
        self.context._native.copy_to_host(flat, self.ptr, self.stream)
        if self.strides == dense_strides(self.shape) or self.size == 0:
            return flat.view(t.numpy).reshape(self.shape)
        steps = tuple(s * t.itemsize for s in self.strides)
        return np.lib.stride_tricks.as_strided(flat.view(t.numpy), self.shape, steps).copy()

    def __array__(self, *_, **__):
        """Refused: numpy would take the array for an object."""
        raise TypeError("DeviceArray: expected .numpy(), which waits and copies, got a conversion to a numpy array")

    def __dlpack_device__(self) -> tuple[int, int]:
        """The GPU; for the virtual device the CPU, since no other library can address its memory."""
        if self.context.info["is_virtual"]:
            return (DL_CPU, 0)
        return (DL_CUDA, self.context.info["device"])

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        """Shares the memory on a GPU; exports a copy in host memory from the virtual device."""
        here = self.__dlpack_device__()
        if dl_device is not None and tuple(dl_device) != here:
            raise BufferError(f"dl_device: expected {here}, got {tuple(dl_device)}")
        versioned = max_version is not None and max_version[0] >= 1
        code, bits = TYPES[self.dtype].dlpack
        if here[0] == DL_CPU:
            if copy is False:
                raise BufferError("copy: expected None or True for an array of the virtual device, got False")
            host = self.numpy()
            address = host.__array_interface__["data"][0]
            return _ptxops.dlpack_export(
                host, address, self.shape, dense_strides(self.shape), code, bits, *here, versioned, True
            )
        if copy:
            raise BufferError("copy: expected None or False for an array on a GPU, got True")
        if stream != -1:  # -1: the consumer synchronises by itself
            self.context.synchronize(self.stream)
        return _ptxops.dlpack_export(self, self.ptr, self.shape, self.strides, code, bits, *here, versioned, False)

    @property
    def __cuda_array_interface__(self) -> dict:
        """The memory, for numba, cupy and torch; AttributeError on the virtual device."""
        if self.context.info["is_virtual"]:
            raise AttributeError("__cuda_array_interface__: the virtual device's memory has no CUDA address")
        t = TYPES[self.dtype]
        return {
            "version": 3,
            "shape": self.shape,
            "typestr": np.dtype(t.raw or t.numpy).str,  # the protocol has no FP8 and no bfloat16
            "data": (self.ptr, False),
            "strides": tuple(s * t.itemsize for s in self.strides),
            "stream": self.stream or 1,  # 1: the legacy default stream
        }
