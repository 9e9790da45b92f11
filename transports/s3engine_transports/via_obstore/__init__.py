"""The Rust client obstore (object_store) as a transport; needs the extra ``s3engine[obstore]``."""

from s3engine_transports.via_obstore.transport import ObstoreTransport

__all__ = ["ObstoreTransport"]
