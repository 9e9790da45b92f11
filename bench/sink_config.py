"""What the sink answers: its buckets, its canned answers, and the nginx configuration that gives them."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "BLOBS_BUCKET", "COPIES_BUCKET", "DELETES_BUCKET", "EMPTY_BUCKET", "ETAG", "LARGE_BUCKET", "LISTING_BUCKET",
    "MAX_CONNECTIONS", "MAX_FILES", "OBJECTS_BUCKET", "PAGE", "PAGE_BUCKET", "PAGE_KEYS", "nginx_config",
]  # fmt: skip

ETAG = "9e107d9d372bb6826bd81d3542a419d6"
"""Of every PUT, whatever its body: the MD5 of nothing in particular."""
OBJECTS_BUCKET = "objects"
LISTING_BUCKET = "listing"
PAGE_BUCKET = "page"
DELETES_BUCKET = "deletes"
LARGE_BUCKET = "large"
BLOBS_BUCKET = "blobs"
COPIES_BUCKET = "copies"
EMPTY_BUCKET = "empty"
PAGE_KEYS = tuple(sorted(f"p/f{number % 20:03}/{number:06}.bin" for number in range(1000)))
"""What the page of PAGE_BUCKET holds, in the order of stores."""
MAX_CONNECTIONS = 8192
MAX_FILES = 32768
"""Connections and files that nginx may have open; where it may have fewer, fewer objects stay open."""

_REQUEST_ID = "18EA6C7D468B86E1"

_LISTING = (
    '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    f"<Name>{LISTING_BUCKET}</Name><Prefix>p/</Prefix><KeyCount>1</KeyCount><MaxKeys>1000</MaxKeys>"
    "<IsTruncated>false</IsTruncated><Contents><Key>p/one</Key><LastModified>2020-01-01T00:00:00.000Z</LastModified>"
    f"<ETag>&quot;{ETAG}&quot;</ETag><Size>1024</Size><StorageClass>STANDARD</StorageClass></Contents>"
    "</ListBucketResult>"
)

PAGE = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    f"<Name>{PAGE_BUCKET}</Name><Prefix>p/</Prefix><KeyCount>{len(PAGE_KEYS)}</KeyCount><MaxKeys>1000</MaxKeys>"
    "<EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>"
    + "".join(
        f"<Contents><Key>{key}</Key><LastModified>2020-01-01T00:00:00.000Z</LastModified>"
        f"<ETag>&quot;{ETAG}&quot;</ETag><Size>1024</Size><StorageClass>STANDARD</StorageClass></Contents>"
        for key in PAGE_KEYS
    )
    + "</ListBucketResult>"
)
_COPIED = (
    '<?xml version="1.0" encoding="UTF-8"?><CopyObjectResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    f"<LastModified>2020-01-01T00:00:00.000Z</LastModified><ETag>&quot;{ETAG}&quot;</ETag></CopyObjectResult>"
)

# master_process off: one process that runs as whoever started it, so that its folder may stay private, SIGKILL leaves
# no worker behind and its CPU is one number. keepalive_requests: nginx would close after 1000. sendfile off: head and
# small body leave in one system call. If-Match is dropped before a file is served: nginx would compare it with an
# ETag of its own making, not with the one it is told to send. A PUT of the hot path is answered without a program, and
# its body thrown away; what has an upload's name goes to the program.
_CONFIG = """
daemon off;
master_process off;
worker_processes 1;
pid nginx.pid;
error_log error.log error;
{load_modules}
events {{ worker_connections {max_connections}; }}
http {{
    log_format sink '$request_method $status $http_content_length $http_x_amz_content_sha256 $body_bytes_sent '
        '$connection $ssl_protocol $request_length $request_uri';
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_prefer_server_ciphers on;
    ssl_ciphers ECDHE+AES128+AESGCM:ECDHE+AES256+AESGCM;
    ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384;
    access_log access.log sink buffer=4m;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    keepalive_requests 1000000000;
    keepalive_timeout 300s;
    client_max_body_size 0;
    client_body_buffer_size 64k;
    default_type application/octet-stream;
    sendfile off;
    tcp_nodelay on;
    etag off;
    open_file_cache max={cached_files} inactive=1h;
    open_file_cache_valid 1h;
    lua_package_path "{folder}/?.lua;;";
    init_by_lua_block {{ require "sink" }}
    map_hash_max_size 65536;
    map_hash_bucket_size 256;
    map $uri $object_etag {{ include etags.map; }}
    map "$http_range:$uri" $object_crc32 {{ include crc32.map; }}
    add_header x-amz-request-id {request_id} always;
    {servers}
}}
"""
_SERVER = """
    server {{
        {listen}
        set $late {delay_s};
        set $sink_etag {etag};
        {places}
        location /{page} {{ default_type application/xml; root static; try_files /page.xml =404; }}
        location /{blobs}/ {{
            root static;
            sendfile on;
            more_clear_input_headers If-Match;
            add_header ETag $object_etag;
            add_header x-amz-request-id {request_id};
            add_header x-amz-checksum-crc32 $object_crc32;
        }}
        location /{large}/ {{
            # All of the body first: an answer that comes before it would be another measurement.
            client_body_buffer_size 160m;
            content_by_lua_block {{ require("sink").object() }}
        }}
        location = /-object {{
            client_body_buffer_size 160m;
            content_by_lua_block {{ require("sink").object() }}
        }}
        {buckets}
        location /-pages/ {{ internal; default_type application/xml; alias pages/; }}
        location /-/ {{ return 204; }}
    }}
"""
# What is about an upload in parts, and a body whose MD5 is told (few are): such a client may look at the ETag.
_TO_PROGRAM = """
            if ($args ~ "(^|&)upload(s|Id)") { rewrite ^ /-object last; }
            if ($http_content_md5) { rewrite ^ /-object last; }
            if ($request_method = DELETE) { return 204; }"""
# What is answered where; the late server goes there when the time is over.
_PLACES = {
    "/": f"""
            add_header ETag '"{ETAG}"';
            add_header x-amz-request-id {_REQUEST_ID};
            add_header x-amz-checksum-crc32 $http_x_amz_checksum_crc32;
            add_header x-amz-checksum-sha256 $http_x_amz_checksum_sha256;
            return 200;""",
    f"/{OBJECTS_BUCKET}/": f"""
            root static;
            more_clear_input_headers If-Match;
            add_header ETag $object_etag;
            add_header x-amz-request-id {_REQUEST_ID};""",
    f"/{LISTING_BUCKET}": f"default_type application/xml; return 200 '{_LISTING}';",
    f"/{COPIES_BUCKET}/": f"default_type application/xml; return 200 '{_COPIED}';",
}
_BUCKET = """location = /{name}{slash} {{
            client_body_buffer_size 1m;
            content_by_lua_block {{ require("sink").bucket() }}
        }}"""


def nginx_config(
    load_modules: Sequence[str], folder: str, ports: tuple[int, int, int], delay_ms: int, buckets: Sequence[str],
    max_files: int = MAX_FILES,
) -> str:  # fmt: skip
    """The whole file.

    Args:
        load_modules: Lines that load modules.
        folder: Where nginx runs.
        ports: At once, late, and at once over TLS (0: none; else ``tls.pem`` and ``tls.key`` lie in the folder).
        delay_ms: How late the second port is.
        buckets: Those that are listed and deleted from; their pages are in ``pages/NAME``.
        max_files: How many it may have open.
    """
    port, late_port, tls_port = ports
    servers = []
    for late in (False, True):
        listen = f"listen 127.0.0.1:{late_port if late else port} backlog=4096;"
        if tls_port and not late:
            listen += (
                f"\n        listen 127.0.0.1:{tls_port} ssl backlog=4096;"
                "\n        ssl_certificate tls.pem;\n        ssl_certificate_key tls.key;"
            )
        places = []
        for number, (path, answer) in enumerate(_PLACES.items()):
            first = _TO_PROGRAM if path == "/" else ""
            then = f"echo_sleep {delay_ms / 1000:.3f}; echo_exec @place{number};" if late else answer
            places.append(f"location {path} {{ {first} {then} }}")
            if late:
                places.append(f"location @place{number} {{ {answer} }}")
        servers.append(_SERVER.format(
            listen=listen, delay_s=f"{delay_ms / 1000:.3f}" if late else "0", etag=ETAG, request_id=_REQUEST_ID,
            blobs=BLOBS_BUCKET, page=PAGE_BUCKET, large=LARGE_BUCKET, places="\n        ".join(places),
            buckets="\n        ".join(_BUCKET.format(name=name, slash=end) for name in buckets for end in ("", "/")),
        ))  # fmt: skip
    return _CONFIG.format(
        load_modules="\n".join(load_modules), folder=folder, max_connections=MAX_CONNECTIONS,
        cached_files=max(100, max_files - MAX_CONNECTIONS - 100), request_id=_REQUEST_ID,
        servers="".join(servers),
    )  # fmt: skip
