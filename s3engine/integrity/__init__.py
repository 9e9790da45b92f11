"""How the bytes of an upload are known to be right: what a store compares, found out once, and what is sent for it."""
