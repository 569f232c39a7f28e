"""The last hours of a fleet: recorded or read from Prometheus, as one timeline, and that as one page."""
