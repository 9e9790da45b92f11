"""The transport over the official ``minio`` client (https://github.com/minio/minio-py), 7.2 and later.

Requests are minio's: its URLs, its hashes and signatures, its urllib3 calls. They go through ``Minio._execute``, the
one method below all of minio's operations, and not through the public ones: there is none for the five multipart calls
and for a single page of a listing; ``put_object`` turns unknown headers into metadata, ``copy_object`` asks HeadObject
first, and all of them refuse keys with ``.`` and ``..`` segments. List pages and what DeleteObjects did are read by
minio; all other answers by the code of our raw transport, because minio drops headers, dates and error fields that our
results need.

minio makes no retries and follows no redirects here, asks for no bucket's region, and reads no configuration of its
own. Buckets whose names have other characters than letters, digits, dots, hyphens and underscores raise InvalidRequest.
"""

from s3engine_transports.via_minio.transport import MinioTransport

__all__ = ["MinioTransport"]
