"""How an operation on many objects becomes tasks for the pool, and outcomes become reports. Runs in the parent."""
