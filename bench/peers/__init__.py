"""Each work against the peers that are best at it: ``python -m bench.peers``. See README.md beside this."""
