"""GPU tasks: one worker for each device. Its children are spawned, because CUDA cannot be initialised again in a forked child."""

gpu_worker = {
    "queues": ["ml"],
    "workload": "gpu",
    "soft_time_limit": 540,
    "time_limit": 600,
    "memory_per_slot": "200M",
}

# The machines' devices. Lines that are commented out show the defaults.
nvidia = {
    # "debian" installs the distribution's driver (non-free, from the machine's own mirror); "none" needs no driver.
    # "driver": "existing",
    # "packages": ["nvidia-kernel-dkms", "nvidia-smi", "libcuda1", "nvidia-persistenced"],
    # A vendor's: {"uri": …, "suite": …, "key": "keys/vendor.asc", "fingerprint": …}. Name its packages in "packages".
    # "repository": None,
    # Wheels include the CUDA libraries that they were built with. "debian" installs libraries and the compiler.
    # "cuda_toolkit": "none",
    # The CUDA version that the app needs, e.g. "12.1". None: as the pinned requirements bring.
    # "cuda": None,
    # "auto": a deploy may restart a machine whose new driver needs it.
    # "reboot": "never",
    # "exclusive": one process may use a device.
    # "compute_mode": "default",
    # How many worker processes may share a device. They share its memory, too.
    # "share": 1,
    # How CUDA_VISIBLE_DEVICES names a device: "index" or "uuid".
    # "devices_by": "index",
}
# Devices that each machine should have. A deploy refuses a machine with another number.
# gpus = 8
