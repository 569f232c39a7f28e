"""A local fleet of real virtual machines: QEMU, user networking, no root service, no bridge."""
