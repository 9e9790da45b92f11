"""What decides about requests: shared memory, estimates, timeouts, retries. Touches no socket and no object."""
