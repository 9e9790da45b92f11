"""The TLS context of the raw transport: as urllib3 makes it, made once."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from urllib3.util.ssl_ import create_urllib3_context

from s3engine.config import TransportSettings
from s3engine.errors import ConfigError
from s3engine_transports.raw.pooled import UrllibPool, shared_context


def ciphers(context: ssl.SSLContext) -> list[str]:
    return [cipher["name"] for cipher in context.get_ciphers()]


def test_no_cipher_is_added_or_left_out() -> None:
    """The same ciphers as urllib3's, the others in their order; of TLS 1.2 the quick ones come first."""
    ours, theirs = ciphers(shared_context(TransportSettings())), ciphers(create_urllib3_context())
    assert sorted(ours) == sorted(theirs)
    older = [name for name in ours if not name.startswith("TLS_")]
    quick = [name for name in older if name.startswith("ECDHE-") and "AES128-GCM" in name]
    assert quick
    assert older[: len(quick)] == quick
    assert [name for name in ours if name not in quick] == [name for name in theirs if name not in quick]


@pytest.mark.parametrize("verify", [True, False])
def test_certificates_are_verified_as_wished(verify: bool) -> None:
    """Certificate and name of the host, unless that is switched off; never less than TLS 1.2."""
    context = shared_context(TransportSettings(verify_tls=verify))
    mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
    assert (context.verify_mode, context.check_hostname) == (mode, verify)
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_a_bundle_that_is_none_is_refused(tmp_path: Path) -> None:
    """A file without certificates is no error of a connection, but of the settings."""
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(ConfigError, match="cannot be read"):
        shared_context(TransportSettings(ca_bundle=str(tmp_path / "ca.pem")))


def test_all_connections_of_a_pool_share_one() -> None:
    """Certificates are read once."""
    pool = UrllibPool(TransportSettings(), "https", "localhost", 9, "https://localhost:9", "")
    first, second = (pool._pool._new_conn() for _ in range(2))
    assert first.ssl_context is second.ssl_context is not None
    pool.close()
