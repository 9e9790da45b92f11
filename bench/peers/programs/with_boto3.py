"""One job with boto3's transfer manager: with_boto3.py JOB URL BUCKET KEY PATH IN_FLIGHT [PART_MIB] [crt | whole].

Jobs: put, get (one file), upload, download (a flat folder of large files; threads over files share one client). With
"crt" the same through AWS's C runtime, as the AWS CLI uses it; boto3's own switch to it ignores the endpoint. Files
larger than a part go in parts; without "crt" those as large as one too, or with "whole" as one PUT.
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

job, endpoint_url, bucket, key, path, number, *rest = sys.argv[1:]
in_flight, part_bytes = int(number), int(rest[0] if rest else 8) * 1024 * 1024
FILES_AT_ONCE = 4


def with_crt() -> None:
    """What the AWS CLI does with ``preferred_transfer_client = crt``."""
    import botocore.session
    from s3transfer.crt import (
        BotocoreCRTCredentialsWrapper,
        BotocoreCRTRequestSerializer,
        CRTTransferManager,
        create_s3_crt_client,
    )

    session = botocore.session.get_session()
    wrapper = BotocoreCRTCredentialsWrapper(session.get_credentials())
    crt = create_s3_crt_client(
        region="us-east-1", crt_credentials_provider=wrapper.to_crt_credentials_provider(), num_threads=2,
        target_throughput=10 * 1000**3 // 8, part_size=part_bytes, use_ssl=endpoint_url.startswith("https"),
        verify=os.environ.get("AWS_CA_BUNDLE"),
    )  # fmt: skip
    serializer = BotocoreCRTRequestSerializer(session, {
        "endpoint_url": endpoint_url, "region_name": "us-east-1", "config": Config(s3={"addressing_style": "path"}),
    })  # fmt: skip
    with CRTTransferManager(crt, serializer) as manager:
        for future in [start(manager, *one) for one in todo()]:
            future.result()


def start(manager: Any, one: str, file: str) -> Any:
    """A transfer of the C runtime."""
    if job in ("put", "upload"):
        return manager.upload(file, bucket, one)
    return manager.download(bucket, one, file)


def todo() -> list[tuple[str, str]]:
    """Key and path of each file."""
    if job == "upload":
        return [(key + name, os.path.join(path, name)) for name in sorted(os.listdir(path))]
    if job == "download":
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key)
        found = [content["Key"] for page in pages for content in page["Contents"]]
        return [(one, os.path.join(path, one[len(key) :])) for one in found]
    return [(key, path)]


client: Any = boto3.client(
    "s3", endpoint_url=endpoint_url, region_name="us-east-1",
    config=Config(max_pool_connections=in_flight * FILES_AT_ONCE, s3={"addressing_style": "path"}),
)  # fmt: skip
config = TransferConfig(
    max_concurrency=in_flight, multipart_chunksize=part_bytes,
    multipart_threshold=part_bytes * (2 if "whole" in rest else 1),
)  # fmt: skip


def transfer(one: tuple[str, str]) -> None:
    """A file, in parts and threads of its own."""
    if job in ("put", "upload"):
        client.upload_file(one[1], bucket, one[0], Config=config)
    else:
        client.download_file(bucket, one[0], one[1], Config=config)


if "crt" in rest:
    with_crt()
else:
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        list(pool.map(transfer, todo()))
