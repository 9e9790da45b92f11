"""The caller's own Python on the bodies of objects, in processes of its own beside the workers: docs/functions.md."""
