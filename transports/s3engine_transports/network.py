"""What every transport over urllib3 needs to know of the network: socket options, proxies, and failures in words.

urllib3 and ssl are imported where they are needed: a listing over plain HTTP needs neither (80 ms).
"""

from __future__ import annotations

import os
import re
import select
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlsplit

from s3engine.errors import ConnectFailed, ConnectTimeout, RequestError
from s3engine.plain import brief

__all__ = [
    "MAX_AGE_S", "MAX_IDLE_S", "address_family", "amazon_host", "connect_error", "connect_to_one", "is_dns_name",
    "is_readable", "proxy_for", "proxy_login", "socket_options",
]  # fmt: skip

# A store may close an idle connection after 5 s (AWS, as the CRT notes) to 75 s (nginx); older ones are not handed out.
MAX_IDLE_S = 4.0
# And up to as much again. A name may have many addresses; whoever stays on one for ever loads that one.
MAX_AGE_S = 60.0
_USER_TIMEOUT_MS = 20_000  # data unacknowledged for so long: the peer is gone (algorithm: TCP_USER_TIMEOUT 20 s)
_KEEPALIVE_IDLE_S = 10
_dns_label = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]").fullmatch
# https://docs.aws.amazon.com/general/latest/gr/rande.html: partitions whose hosts do not end in amazonaws.com
_SUFFIXES = {"cn-": "amazonaws.com.cn", "us-iso-": "c2s.ic.gov", "us-isob-": "sc2s.sgov.gov"}


def amazon_host(region: str) -> str:
    """The host of Amazon S3 in a region."""
    suffix = next((suffix for start, suffix in _SUFFIXES.items() if region.startswith(start)), "amazonaws.com")
    return f"s3.{region}.{suffix}"


def address_family(host: str) -> socket.AddressFamily | None:
    """Of a host that is an IP address, which needs no look-up; None for a name."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return family
    return None


def is_dns_name(bucket: str) -> bool:
    """Whether a bucket's name can stand in a host name, and a certificate for ``*.host`` covers it."""
    return _dns_label(bucket) is not None


def socket_options() -> list[tuple[int, int, int | bytes]]:
    """For urllib3's ``socket_options``: no Nagle, and dead peers are noticed."""
    options: list[tuple[int, int, int | bytes]] = [
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    ]  # fmt: skip
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        options.append((socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT_MS))
    if hasattr(socket, "TCP_KEEPIDLE"):
        options.append((socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE_S))
    return options


def proxy_for(scheme: str, netloc: str) -> str:
    """The proxy URL of ``http_proxy``, ``https_proxy``, ``all_proxy`` and ``no_proxy`` for a host, or ""."""
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return ""
    from urllib.request import getproxies_environment, proxy_bypass  # lazy: 10 ms

    proxies = getproxies_environment()
    proxy = proxies.get(scheme) or proxies.get("all") or ""
    if not proxy or proxy_bypass(netloc):
        return ""
    return proxy if "//" in proxy else f"http://{proxy}"


def proxy_login(proxy: str) -> dict[str, str] | None:
    """The headers that carry the user and password in a proxy's URL; None when it has none."""
    login = urlsplit(proxy)
    if not login.username:
        return None
    import urllib3

    user = f"{unquote(login.username)}:{unquote(login.password or '')}"
    return urllib3.make_headers(proxy_basic_auth=user)


def is_readable(sock: Any) -> bool:
    """A quiet idle connection has nothing to read; one that has was closed by the other side, or is out of step."""
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    return bool(poller.poll(0))


def connect_to_one(
    found: list[Any], options: list[tuple[int, int, int | bytes]], left_s: Callable[[], float],
    opened: Callable[[socket.socket], None], source_address: tuple[str, int] | None = None,
) -> socket.socket:  # fmt: skip
    """Connect to the first of the addresses (what getaddrinfo found) that answers. Raises OSError of the last one.

    ``left_s`` says what connecting may still take; ``opened`` is told of each socket before it blocks.
    """
    failure: OSError = OSError("the name has no address")
    for number, (family, kind, protocol, _, address) in enumerate(found):
        sock = socket.socket(family, kind, protocol)
        opened(sock)
        try:
            for option in options:
                sock.setsockopt(*option)
            # Each address gets its share of what is left, or a silent first one would use up the time of all.
            sock.settimeout(left_s() / (len(found) - number))
            if source_address:
                sock.bind(source_address)
            sock.connect(address)
            sock.settimeout(left_s())  # what the TLS handshake has left
        except OSError as error:
            sock.close()
            failure = error
        else:
            return sock
    raise failure


def connect_error(error: BaseException, where: str, host: str, timeout_s: float) -> RequestError:
    """What a failed connect is for us.

    Args:
        error: What urllib3 raised.
        where: ``scheme://host:port`` of the endpoint.
        host: The name that was looked up, a proxy's where there is one.
        timeout_s: What connecting was allowed to take.
    """
    from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

    if isinstance(error, (NameResolutionError, socket.gaierror)):
        return ConnectFailed(f"cannot connect to {where}: the name {host!r} is not known")
    # NewConnectionError (refused, unreachable) is a ConnectTimeoutError to urllib3.
    if isinstance(error, (ConnectTimeoutError, TimeoutError)) and not isinstance(error, NewConnectionError):
        return ConnectTimeout(f"no connection to {where} within {timeout_s:g} s", timeout_s=timeout_s)
    return ConnectFailed(f"cannot connect to {where}: {_reason(error)}", permanent=_is_permanent(error))


_MISMATCH = (62, 63, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, EMAIL, IP_ADDRESS
_DATES = (9, 10)  # X509_V_ERR_CERT_NOT_YET_VALID, CERT_HAS_EXPIRED
_ANOTHER_HOST = "is the endpoint's name right, and nobody in between?"


def _is_permanent(error: BaseException) -> bool:
    import ssl

    from urllib3.util.ssl_match_hostname import CertificateError

    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, (ssl.SSLCertVerificationError, CertificateError)):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _reason(error: BaseException) -> str:
    """The innermost cause, in words."""
    import ssl

    from urllib3.util.ssl_match_hostname import CertificateError

    seen: BaseException = error
    while seen.__cause__ is not None or seen.__context__ is not None:
        seen = seen.__cause__ or seen.__context__  # type: ignore[assignment]  # one of them is not None
    if isinstance(seen, CertificateError):
        return f"its certificate is of another host ({brief(str(seen), 300)}); {_ANOTHER_HOST}"
    if isinstance(seen, ssl.SSLCertVerificationError):
        why = seen.verify_message.rstrip(".")
        if seen.verify_code in _MISMATCH:
            return f"its certificate is of another host ({why}); {_ANOTHER_HOST}"
        if seen.verify_code in _DATES:
            return f"its certificate is not valid now ({why}); have it renewed, or set this machine's clock"
        return f"its certificate is not trusted ({why}); give its CA (--ca-bundle, AWS_CA_BUNDLE)"
    if isinstance(seen, ssl.SSLError):
        return f"TLS failed ({seen.reason or seen}); is it a plain http:// endpoint?"
    if isinstance(seen, OSError) and seen.strerror:
        return f"{seen.strerror}; is the endpoint right and running?"
    return str(seen)
