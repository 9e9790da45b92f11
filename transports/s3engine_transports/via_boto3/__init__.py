"""The official boto3 client as a transport; needs the extra ``s3engine[boto3]``."""

from s3engine_transports.via_boto3.transport import Boto3Transport

__all__ = ["Boto3Transport"]
