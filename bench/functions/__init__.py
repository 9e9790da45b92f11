"""Functions on the bodies: against the same job written with other libraries, and what it costs and where it ends."""
