"""Check the device that `--device` names without importing torch, which takes seconds.

The graphics driver reports the number of its devices (CUDA Driver API, cuDeviceGetCount). Later, when the device is
needed, `app.loaded_model.torch_device` checks whether torch can use it.
"""

from __future__ import annotations

import ctypes
import re
import sys
from importlib.metadata import PackageNotFoundError, version

from models.errors import UserError

_CUDA = re.compile(r"cuda(?::([0-9]{1,4}))?", re.ASCII)


class DeviceError(UserError):
    """Report a device that cannot be used."""


def require_device(name: str) -> None:
    """Raise DeviceError for an unknown device name, or for a device that this machine certainly lacks."""
    if name in ("auto", "cpu"):
        return
    match = _CUDA.fullmatch(name)
    if match is None:
        raise DeviceError(f"--device {name[:40]}: Longtake runs on cpu and cuda (one of several: cuda:1); auto chooses")
    count = cuda_devices()
    if count == 0:
        raise DeviceError(f"--device {name}: no CUDA device is here; leave --device out or say cpu")
    if count is not None and int(match[1] or 0) >= count:
        last = f"cuda:0 to cuda:{count - 1}" if count > 1 else "cuda:0"
        raise DeviceError(f"--device {name}: there is no such device; here is {last}")


def cuda_devices() -> int | None:
    """Return the number of CUDA devices visible to this process; None if the driver cannot be asked."""
    try:
        build = version("torch")
    except PackageNotFoundError:
        return None
    if "+cpu" in build or sys.platform == "darwin":
        return 0
    if "+rocm" in build:
        return None
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int()
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value
