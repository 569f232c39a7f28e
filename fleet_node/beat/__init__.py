"""Celery's beat as a service of the fleet: one leader at a time, and standbys that take over.

The leader has the lock BEAT_LOCK in the broker's Redis (`lock`). One script looks at the lock, puts a message into its queue, and
writes its run down (`fence`). So a leader that was paused sends nothing when it comes back, and the next leader knows each run
that was sent (`scheduler`).
"""
