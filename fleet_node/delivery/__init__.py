"""How a worker takes messages from Redis so that none is lost, and none waits for a worker that is dead.

A message is in its queue, or written down with a worker that says every few seconds that it lives (its lease). Everything here is
of the worker's own consumer connection, in the worker's main process: an app that uses the broker in a task has kombu as it is.

- `scripts`: what Redis does in one step. `keys`: the names of what it keeps.
- `transport`: kombu's transport, with the fetching replaced. `holdings`: what the worker holds, and what has ended.
- `lease`: the thread that renews the lease; `sweep`: what dead workers held goes back to its queues.
- `wakeup`: one listener in the whole fleet wakes one idle worker for each message.
"""
