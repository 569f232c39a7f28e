"""GPU: a task that names its device, and computes on it if PyTorch is installed."""

import os
import subprocess
from functools import cache
from typing import Any

from shop.app import TimedTask, app


@app.task(base=TimedTask)  # type: ignore[untyped-decorator]
def sum_of_squares(count: int) -> dict[str, Any]:
    """0² + 1² + … + (count - 1)², exact in 64 bits up to a count of 3 million.

    `device` computed it ("cpu", or "cuda:0 NVIDIA H200"), `gpus` are the devices that the driver lists, and `visible` those
    that CUDA_VISIBLE_DEVICES leaves to this worker (null: all of them).
    """
    device, total = on_gpu(count) or ("cpu", sum(number * number for number in range(count)))
    return {"count": count, "total": total, "device": device, "gpus": list(gpus()), "visible": visible()}


def visible() -> str | None:
    """The devices this process may use, as CUDA reads them."""
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def on_gpu(count: int) -> tuple[str, int] | None:
    """The device and the sum, or None if PyTorch or a device is missing."""
    # In the task's process and not above: CUDA does not survive a fork, and importing PyTorch takes seconds.
    try:
        import torch  # type: ignore[import-not-found,unused-ignore]  # not in the requirements
    except ImportError:
        return None
    if not torch.cuda.is_available():
        return None
    numbers = torch.arange(count, dtype=torch.int64, device="cuda:0")
    return f"cuda:0 {torch.cuda.get_device_name(0)}", int((numbers * numbers).sum().item())


@cache
def gpus() -> tuple[str, ...]:
    """The lines of `nvidia-smi -L`, one a device; empty on a machine without one or with a broken driver."""
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(listed.stdout.splitlines())
