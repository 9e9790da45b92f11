"""Transports for tests, and the conformance suite for transports. See the submodules.

Both transports are opened by dotted name, so they reach worker processes of every start method::

    Engine(transport="s3engine.testing:MemoryTransport", workers=1, endpoint_url="http://memory")
    Engine(
        transport="s3engine.testing:FaultyTransport",
        endpoint_url=with_faults("http://127.0.0.1:9000", Fault("exit", operation="put_object", key="bad")),
    )
"""

from s3engine.testing.faulty import Fault, FaultyTransport, with_faults
from s3engine.testing.memory import MemoryTransport

__all__ = ["Fault", "FaultyTransport", "MemoryTransport", "with_faults"]
