"""A small web shop's background jobs."""
