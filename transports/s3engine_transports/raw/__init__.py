"""The raw transport: SigV4-signed requests over urllib3's connections, with a hot path of its own."""

from s3engine_transports.raw.transport import RawTransport

__all__ = ["RawTransport"]
