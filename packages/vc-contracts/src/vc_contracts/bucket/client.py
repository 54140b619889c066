"""Opening a bucket: credentials from the environment only, patient with dropped connections.

| variable | what it is |
|---|---|
| AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN | credentials for s3:// |
| AWS_SKIP_SIGNATURE=true | ask without credentials (public buckets) |
| AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, S3_ENDPOINT | another server that speaks S3 (MinIO, R2, ...); the first that is set |
| AWS_REGION, AWS_DEFAULT_REGION | region of the bucket; us-east-1 where neither is set |
| GOOGLE_APPLICATION_CREDENTIALS | credentials for gs://; else the machine's service account |
"""

import functools
import os
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from vc_contracts.bucket.address import Address
from vc_contracts.bucket.errors import CREDENTIALS, BucketError, LostError, missing_extra, plainly

TRIES = 6
"""Requests after the first that fails, before a connection counts as lost."""
FIRST_WAIT, LONGEST_WAIT = 0.2, 8.0
"""Seconds between tries; they double from the first to the longest."""
_ROLE = ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI")


def endpoint() -> str | None:
    """Another server than Amazon's, where the environment names one."""
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "S3_ENDPOINT")
    return next((os.environ[name].rstrip("/") for name in names if os.environ.get(name)), None)


def region() -> str:
    """Region of S3 buckets."""
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"


def is_anonymous() -> bool:
    """Whether S3 is asked without credentials."""
    return os.environ.get("AWS_SKIP_SIGNATURE", "").lower() in ("true", "1", "yes")


def open_bucket(address: Address, prefix: str | None = None) -> Any:
    """An obstore store of the address's bucket.

    Args:
        address: Anything in it.
        prefix: Names are relative to this key.

    Raises:
        BucketError: obstore is not installed, or there are no credentials.
    """
    check_credentials(address)
    settings = tuple(sorted((k, v) for k, v in os.environ.items() if k.startswith(("AWS_", "GOOGLE_", "S3_"))))
    return _open(address.scheme, address.bucket, prefix, settings)


@functools.lru_cache(maxsize=64)
def _open(scheme: str, bucket: str, prefix: str | None, _environment: tuple[tuple[str, str], ...]) -> Any:
    try:
        from obstore.store import GCSStore, S3Store
    except ImportError:
        raise missing_extra(f"{scheme}://{bucket}") from None
    backoff: Any = {
        "init_backoff": timedelta(seconds=FIRST_WAIT),
        "max_backoff": timedelta(seconds=LONGEST_WAIT),
        "base": 2,
    }
    retry: Any = {"max_retries": TRIES, "backoff": backoff, "retry_timeout": timedelta(minutes=3)}
    if scheme == "gs":
        return GCSStore(bucket, prefix=prefix, retry_config=retry)
    place: Any = {"region": region()}
    options: Any = {"connect_timeout": "10s"}
    if (url := endpoint()) is not None:
        place["endpoint"] = url
        options["allow_http"] = url.startswith("http://")
    if is_anonymous():
        place["skip_signature"] = True
    return S3Store(bucket, prefix=prefix, client_options=options, retry_config=retry, **place)


def library() -> Any:
    """The module obstore; call it after `open_bucket`, which says what to do where it is not installed."""
    import obstore

    return obstore


def attempt[Made](address: Address, job: Callable[[], Made]) -> Made:
    """What a request gives, asked again where the connection broke in the middle of an answer.

    Raises:
        BucketError: It cannot be had.
    """
    wait = FIRST_WAIT
    for left in range(TRIES, -1, -1):
        try:
            with plainly(address):
                return job()
        except LostError as error:
            # Where the library tried several times to connect, it said so; only answers that broke off are asked for again.
            if not left or error.tried:
                raise
            time.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)
    raise AssertionError("unreachable")


def check_credentials(address: Address) -> None:
    """Refuse at once where S3 would have to be asked without any credentials.

    Raises:
        BucketError: None in the environment, on a server that gives none by itself.
    """
    if address.scheme != "s3" or is_anonymous():
        return
    own = os.environ.get("AWS_ACCESS_KEY_ID") and os.environ.get("AWS_SECRET_ACCESS_KEY")
    half = bool(os.environ.get("AWS_ACCESS_KEY_ID")) != bool(os.environ.get("AWS_SECRET_ACCESS_KEY"))
    if own or (not half and (any(os.environ.get(name) for name in _ROLE) or endpoint() is None)):
        return  # without keys, Amazon's machines have a role that obstore asks for
    found = "one half of them" if half else "none"
    raise BucketError(str(address), "bucket", "credentials in the environment", found, CREDENTIALS["s3"])


def open_zarr_store(address: Address) -> Any:
    """A read-only zarr store at an address.

    Raises:
        BucketError: As `open_bucket`.
    """
    from zarr.storage import ObjectStore

    return ObjectStore(open_bucket(address, address.key), read_only=True)


def tensorstore_place(address: Address) -> dict[str, Any]:
    """The key-value store of an address, as tensorstore takes it.

    Raises:
        BucketError: There are no credentials.
    """
    check_credentials(address)
    path = f"{address.key}/"
    if address.scheme == "gs":
        return {"driver": "gcs", "bucket": address.bucket, "path": path}
    kind = {"type": "anonymous"} if is_anonymous() else {"type": "default"}
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        kind = {"type": "environment"} if not is_anonymous() else kind
    place: dict[str, Any] = {"driver": "s3", "bucket": address.bucket, "path": path, "aws_credentials": kind}
    place["aws_region"] = region()
    if (url := endpoint()) is not None:
        place["endpoint"] = url
    return place


def tensorstore_limits() -> dict[str, Any]:
    """What a tensorstore context needs for buckets: requests at once, and patience."""
    waits = {"max_retries": TRIES, "initial_delay": f"{FIRST_WAIT}s", "max_delay": f"{LONGEST_WAIT}s"}
    limits: dict[str, Any] = {}
    for kind in ("s3", "gcs"):
        limits |= {f"{kind}_request_concurrency": {"limit": 32}, f"{kind}_request_retries": waits}
    return limits
