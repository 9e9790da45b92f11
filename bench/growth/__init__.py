"""How cost grows with the number and size of objects, concurrency, workers and latency: ``python -m bench.growth``."""
