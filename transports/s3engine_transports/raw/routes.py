"""Where the requests for a bucket go: its host, the path before its keys, its region, a proxy's absolute form."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from s3engine.config import TransportSettings
from s3engine.errors import ConfigError, InvalidRequest
from s3engine_transports.network import amazon_host, is_dns_name
from s3engine_transports.raw.connection import Connections, Endpoint

__all__ = ["Route", "Routes"]


class Route:
    """How requests for one bucket are addressed and signed; ``base`` precedes the encoded key in the path."""

    __slots__ = ("absolute", "base", "endpoint", "extra", "host", "region")

    def __init__(self, endpoint: Endpoint, base: str, region: str, absolute: str, extra: str) -> None:
        self.endpoint = endpoint
        self.host = endpoint.netloc
        self.base = base
        self.region = region
        self.absolute = absolute  # "http://host:port" when a plain-HTTP proxy wants the absolute form
        self.extra = extra  # header lines for such a proxy


class Routes:
    """The routes of one transport, made when they are first asked for. Raises ConfigError for a bad endpoint."""

    def __init__(self, settings: TransportSettings, connections: Connections) -> None:
        self._settings = settings
        self._connections = connections
        self._routes: dict[str, Route] = {}
        self._regions: dict[str, str] = {}
        self._custom = _endpoint(settings.endpoint_url)

    @property
    def on_amazon(self) -> bool:
        """No endpoint was given: requests go to Amazon S3."""
        return self._custom is None

    def set_region(self, bucket: str, region: str) -> None:
        """Sign for ``region`` for this bucket; on Amazon go to that region's endpoint."""
        self._regions[bucket] = region
        self._routes.pop(bucket, None)

    def route(self, bucket: str) -> Route:
        """The route of a bucket; "" is the service itself."""
        found = self._routes.get(bucket)
        if found is None:
            found = self._routes[bucket] = self._make_route(bucket)
        return found

    def _make_route(self, bucket: str) -> Route:
        region = self._regions.get(bucket) or self._settings.region
        style = self._settings.addressing_style
        if self._custom is not None:
            endpoint, base = self._custom
            virtual = style == "virtual"
        else:
            endpoint, base = Endpoint("https", amazon_host(region), 443), ""
            virtual = style != "path"
        if virtual and is_dns_name(bucket):
            endpoint = endpoint._replace(host=f"{bucket}.{endpoint.host}")
            base += "/"
        else:
            try:
                base += f"/{quote(bucket, safe='~')}/" if bucket else "/"
            except UnicodeEncodeError:
                raise InvalidRequest(f"the bucket {bucket!r} is not Unicode", bucket=bucket) from None
        absolute = self._connections.is_absolute(endpoint)
        extra = ""
        if absolute or endpoint.scheme == "https":
            # Now, since it tells what is wrong with a CA bundle. Without either the first connection that needs a pool
            # makes it, and those of a loop mostly do not: importing urllib3 takes 60 ms of CPU in each worker.
            pool, _ = self._connections.pool(endpoint)
            if absolute:
                extra = "".join(f"{name}: {value}\r\n" for name, value in (pool.proxy_headers or {}).items())
        return Route(endpoint, base, region, f"http://{endpoint.netloc}" if absolute else "", extra)


def _endpoint(url: str) -> tuple[Endpoint, str] | None:
    """The endpoint that a URL names, and the path in it."""
    if not url:
        return None
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        raise ConfigError(f"endpoint_url {url!r} has no valid port") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"endpoint_url {url!r} must be like http://host:port")
    port = port or (443 if parts.scheme == "https" else 80)
    return Endpoint(parts.scheme, parts.hostname, port), parts.path.rstrip("/")
