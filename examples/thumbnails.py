"""A small JPEG of every picture below a prefix: thumbnails.py BUCKET photos/ thumbs/ 128

Needs Pillow. What is no picture is told, and costs nothing else.
"""

import io
import os
import sys

from PIL import Image

from s3engine import Engine, FetchedObject, Output, Transform


def thumbnail(found: FetchedObject) -> Output:
    """At most so many pixels in each direction."""
    picture = Image.open(found.file()).convert("RGB")
    picture.thumbnail((found.state, found.state))
    packed = io.BytesIO()
    picture.save(packed, "JPEG")
    return Output(packed.getvalue(), content_type="image/jpeg")


def main(bucket: str, prefix: str, target: str, pixels: str) -> int:
    """Exit code 1 when something was no picture."""
    function = Transform(thumbnail, initializer=lambda: int(pixels), timeout_s=60)
    with Engine() as engine:
        batch = engine.list(bucket, prefix).transform(
            function, key=lambda info: target + os.path.splitext(info.key.removeprefix(prefix))[0] + ".jpg"
        )
        for report in batch:
            print(f"{report.key}: {report.error or report.target}", file=sys.stderr if report.error else sys.stdout)
    return 0 if batch.summary().ok else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
