"""Every work against every peer: ``python -m bench.peers``. See README.md beside this."""
