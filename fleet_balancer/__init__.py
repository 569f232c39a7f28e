"""Moves a fleet's capacity to where tasks wait, as a service on the monitor's machine: with Debian's Python and packages alone.

It reads the broker as the exporter does, decides by `fleet.capacity.balance`, and tells workers by Celery's remote control.
"""
