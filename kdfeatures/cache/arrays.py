"""One array in one file: the safetensors format with a checksum in its metadata, written and read through mmap.

The header has a fixed size, so that a file can be mapped before its checksum is known, and filled row by row without
ever being held in memory. Any safetensors reader opens it; the array's name inside is "array".
"""

from __future__ import annotations

import json
import math
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

HEADER = 512  # bytes, with the 8 that say how long it is
DTYPES = {
    "float64": ("F64", torch.float64),
    "float32": ("F32", torch.float32),
    "float16": ("F16", torch.float16),
    "bfloat16": ("BF16", torch.bfloat16),
    "int32": ("I32", torch.int32),
    "uint8": ("U8", torch.uint8),
}
_BY_CODE = {code: (name, dtype) for name, (code, dtype) in DTYPES.items()}


class BrokenFile(Exception):
    """A file that is not what its header says."""


class NewArray:
    """A file being filled through `tensor`; `close` adds header and checksum and waits for the disk."""

    def __init__(self, path: Path, shape: Sequence[int], dtype: str) -> None:
        self.path, self.shape, self.dtype = path, list(shape), dtype
        size = math.prod(shape) * DTYPES[dtype][1].itemsize
        with path.open("wb") as stream:
            _reserve(stream.fileno(), HEADER + size)
        self._bytes = np.memmap(path, np.uint8, "r+", offset=HEADER)
        self.tensor = torch.from_numpy(self._bytes).view(DTYPES[dtype][1]).view(self.shape)

    def close(self, info: Mapping[str, str] | None = None) -> None:
        """Finish the file. info: further metadata, also covered by the checksum."""
        header = _header(self.shape, self.dtype, info or {}, 0)
        checksum = zlib.crc32(self._bytes.data, zlib.crc32(header))
        self._bytes.flush()
        with self.path.open("r+b") as stream:
            stream.write(_header(self.shape, self.dtype, info or {}, checksum))
            stream.flush()
            os.fsync(stream.fileno())


def write_array(path: Path, tensor: Tensor, dtype: str) -> None:
    """Write a tensor that is in memory."""
    new = NewArray(path, tensor.shape, dtype)
    new.tensor.copy_(tensor)
    new.close()


def open_array(path: Path, *, verify: bool) -> tuple[Tensor, dict[str, str]]:
    """Map a file and return its array, of which only what is read is loaded, and its metadata.

    verify: read it whole and compare its checksum. Raises BrokenFile when it is missing, cut short or altered.
    """
    try:
        with path.open("rb") as stream:
            header = stream.read(HEADER)
        described = json.loads(header[8:])
        info, entry = described["__metadata__"], described["array"]
        name, dtype = _BY_CODE[entry["dtype"]]
        shape = entry["shape"]
        if path.stat().st_size != HEADER + math.prod(shape) * dtype.itemsize:
            raise BrokenFile(f"{path} was cut short")
        # copy-on-write: nothing is written, but torch asks for memory that could be
        data = np.memmap(path, np.uint8, "c", offset=HEADER)
        checksum = int(info.pop("crc32"), 16)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BrokenFile(f"{path} cannot be read ({type(error).__name__})") from error
    if verify and zlib.crc32(data.data, zlib.crc32(_header(shape, name, info, 0))) != checksum:
        raise BrokenFile(f"{path} does not match its checksum")
    return torch.from_numpy(data).view(dtype).view(shape), info


def _reserve(file: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        # a full disk is an error here, not a signal that kills the process while it writes to the mapping
        os.posix_fallocate(file, 0, size)
    else:
        os.ftruncate(file, size)


def _header(shape: Sequence[int], dtype: str, info: Mapping[str, str], checksum: int) -> bytes:
    code, kind = DTYPES[dtype]
    entry = {"dtype": code, "shape": list(shape), "data_offsets": [0, math.prod(shape) * kind.itemsize]}
    text = json.dumps({"__metadata__": {**info, "crc32": f"{checksum:08x}"}, "array": entry})
    if len(text) > HEADER - 8:
        raise ValueError(f"the header takes {len(text)} bytes, but has room for {HEADER - 8}.")
    return (HEADER - 8).to_bytes(8, "little") + text.encode().ljust(HEADER - 8)
