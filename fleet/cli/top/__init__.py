"""`fleet top`: the fleet on one screen, live."""
