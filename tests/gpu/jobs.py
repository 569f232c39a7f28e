"""Tasks for a real device."""

import os
import time
from typing import Any

import torch
from celery import Celery

app = Celery("jobs")
app.conf.update(task_acks_late=True, task_reject_on_worker_lost=True, broker_connection_retry_on_startup=True)
if os.environ.get("CUDA_IN_PARENT"):
    torch.cuda.init()


@app.task  # type: ignore[untyped-decorator]
def product(size: int, seconds: float = 0) -> dict[str, Any]:
    """A matrix product on the device, compared with the CPU's. It takes at least `seconds`."""
    until = time.monotonic() + seconds
    torch.manual_seed(size)
    a, b = torch.rand(size, size), torch.rand(size, size)
    on_cpu = a @ b
    while True:
        on_device = (a.cuda() @ b.cuda()).cpu()
        if time.monotonic() >= until:
            break
    return {
        "error": float((on_device - on_cpu).abs().max() / on_cpu.abs().max()),
        "device": torch.cuda.get_device_name(0),
        "visible": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "count": torch.cuda.device_count(),
        "pid": os.getpid(),
        "held_mb": torch.cuda.memory_reserved() >> 20,
    }


@app.task  # type: ignore[untyped-decorator]
def count() -> dict[str, Any]:
    """The devices that this worker sees."""
    return {"visible": os.environ.get("CUDA_VISIBLE_DEVICES"), "count": torch.cuda.device_count()}
