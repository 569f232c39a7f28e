"""Every promise of delivery, with every set of versions that apps pin (requirements/matrix) and every pool: `make matrix`."""
