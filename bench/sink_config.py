"""What the sink answers: its buckets, its canned answers, and the nginx configuration that gives them."""

from __future__ import annotations

__all__ = [
    "DELETES_BUCKET", "ETAG", "LARGE_BUCKET", "LISTING_BUCKET", "MAX_FILES", "OBJECTS_BUCKET", "PAGE", "PAGE_BUCKET",
    "PAGE_KEYS", "nginx_config",
]  # fmt: skip

ETAG = "9e107d9d372bb6826bd81d3542a419d6"
"""Of every PUT, whatever its body: the MD5 of nothing in particular."""
OBJECTS_BUCKET = "objects"
LISTING_BUCKET = "listing"
PAGE_BUCKET = "page"
DELETES_BUCKET = "deletes"
LARGE_BUCKET = "large"
PAGE_KEYS = tuple(sorted(f"p/f{number % 20:03}/{number:06}.bin" for number in range(1000)))
"""What the page of PAGE_BUCKET holds, in the order of stores."""
MAX_FILES = 8192
"""Connections and files that nginx may have open."""

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
_DELETED = (
    '<?xml version="1.0" encoding="UTF-8"?><DeleteResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    "</DeleteResult>"
)

# master_process off: one process that runs as whoever started it, so that its folder may stay private, SIGKILL leaves
# no worker behind and its CPU is one number. keepalive_requests: nginx would close after 1000. sendfile off: head and
# small body leave in one system call.
_CONFIG = """
daemon off;
master_process off;
worker_processes 1;
pid nginx.pid;
error_log error.log error;
{load_module}
events {{ worker_connections {max_files}; }}
http {{
    log_format sink '$request_method $status $http_content_length $http_x_amz_content_sha256 $request_uri';
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
    etag on;
    open_file_cache max=100000 inactive=1h;
    open_file_cache_valid 1h;
    add_header x-amz-request-id {request_id} always;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            add_header ETag '"{etag}"';
            add_header x-amz-request-id {request_id};
            return 200;
        }}
        location /{objects}/ {{ root static; }}
        location /{listing} {{ default_type application/xml; return 200 '{listing_xml}'; }}
        location /{page} {{ default_type application/xml; root static; try_files /page.xml =404; }}
        location /{deletes} {{ default_type application/xml; return 200 '{deleted_xml}'; }}
        location /{large}/ {{
            # All of the body first: an answer that comes before it would be another measurement.
            client_body_buffer_size 160m;
            echo_read_request_body;
            echo_exec @large;
        }}
        location @large {{
            add_header ETag '"{etag}"';
            add_header x-amz-request-id {request_id};
            return 200;
        }}
        location /-/ {{ return 204; }}
    }}
    server {{
        listen 127.0.0.1:{late_port} backlog=4096;
        # The named places answer, and discard the body, when the time is over.
        location / {{ echo_sleep {delay_s}; echo_exec @put; }}
        location /{objects}/ {{ echo_sleep {delay_s}; echo_exec @get; }}
        location /{listing} {{ echo_sleep {delay_s}; echo_exec @list; }}
        location @put {{
            add_header ETag '"{etag}"';
            add_header x-amz-request-id {request_id};
            return 200;
        }}
        location @get {{ root static; }}
        location @list {{ default_type application/xml; return 200 '{listing_xml}'; }}
    }}
}}
"""


def nginx_config(load_module: str, port: int, late_port: int, delay_ms: int) -> str:
    """The whole file; ``load_module`` is the line for the echo module, ``delay_ms`` how late the second port is."""
    return _CONFIG.format(
        load_module=load_module, max_files=MAX_FILES, port=port, late_port=late_port, etag=ETAG,
        request_id=_REQUEST_ID, objects=OBJECTS_BUCKET, listing=LISTING_BUCKET, listing_xml=_LISTING,
        page=PAGE_BUCKET, deletes=DELETES_BUCKET, deleted_xml=_DELETED, large=LARGE_BUCKET,
        delay_s=f"{delay_ms / 1000:.3f}",
    )  # fmt: skip
