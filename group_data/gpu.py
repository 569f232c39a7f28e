"""GPU tasks: a worker a device, with spawned children, since CUDA cannot be initialised again in a forked one."""

gpu_worker = {
    "queues": ["ml"],
    "workload": "gpu",
    "soft_time_limit": 540,
    "time_limit": 600,
    "memory_per_slot": "200M",
}

# The machines' devices. Commented out: the defaults.
nvidia = {
    # "debian" installs the distribution's driver (non-free, from the mirror that the machine uses); "none" asks for none.
    # "driver": "existing",
    # "packages": ["nvidia-kernel-dkms", "nvidia-smi", "libcuda1", "nvidia-persistenced"],
    # A vendor's: {"uri": …, "suite": …, "key": "keys/vendor.asc", "fingerprint": …}; then name its packages above.
    # "repository": None,
    # Wheels bring the CUDA that they were built with; "debian" installs its compiler too.
    # "cuda_toolkit": "none",
    # The CUDA that the app needs, where its requirements do not say: "12.1".
    # "cuda": None,
    # Whether a deploy may restart a machine whose new driver asks for it: "auto".
    # "reboot": "never",
    # "exclusive": one process a device.
    # "compute_mode": "default",
    # CUDA_VISIBLE_DEVICES by "index" or "uuid".
    # "devices_by": "index",
}
# Devices that each machine should have: a deploy refuses one with another number.
# gpus = 8
