"""What an address is, and how it is shown. Light to import: every command asks."""

import os
import re
from pathlib import Path
from typing import NamedTuple

SCHEMES = ("s3", "gs")
_OURS = re.compile(r"(s3|gs):/{1,2}(?=[^/]|$)")
_OTHERS = re.compile(
    r"(https?|ftp|s3a|s3n|gcs|abfss?|az|azure|adl|wasbs?|hdfs|file|r2|oss|swift|webdavs?)://", re.IGNORECASE
)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,220}")
CACHE = "VC_BUCKET_CACHE"
"""Environment variable: folder for local copies of what lies in buckets."""


class Address(NamedTuple):
    """A place in a bucket."""

    scheme: str
    bucket: str
    key: str
    """Without slashes at its ends."""

    def __str__(self) -> str:
        """As the user writes it."""
        return f"{self.scheme}://{self.bucket}/{self.key}"

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rsplit("/", 1)[-1]

    def child(self, name: str) -> "Address":
        """A place below this one."""
        return self._replace(key=f"{self.key}/{name}")

    def beside(self, name: str) -> "Address":
        """A place with another last part."""
        folder, slash, _ = self.key.rpartition("/")
        return self._replace(key=f"{folder}{slash}{name}")


def is_address(path: str | Path) -> bool:
    """Whether a path is an address in a bucket, also as pathlib spells it (`s3:/bucket/key`)."""
    return bool(_OURS.match(str(path)))


def parse(path: str | Path) -> Address:
    """Read an address.

    Raises:
        BucketError: No bucket or no key, or something that does not belong there (credentials, queries).
    """
    from vc_contracts.bucket.errors import BucketError

    text = str(path)
    match = _OURS.match(text)
    if match is None:
        raise BucketError("address", "scheme", "s3://BUCKET/KEY or gs://BUCKET/KEY", "another", "Check the address.")
    bucket, _, key = text[match.end() :].partition("/")
    key = "/".join(part for part in key.split("/") if part)
    scheme = match.group(1)
    if "@" in bucket or ":" in bucket:  # never repeated: it may hold a secret
        do = "Credentials come from the environment only: take them out of the address."
        raise BucketError(f"{scheme}://...", "address", "the name of a bucket alone", "more before the first /", do)
    if not _BUCKET.fullmatch(bucket) or not key or any(part in (".", "..") for part in key.split("/")) or "\0" in key:
        do = "Write s3://BUCKET/KEY or gs://BUCKET/KEY."
        raise BucketError(f"{scheme}://{bucket}/{key}", "address", "a bucket and a key", "something else", do)
    return Address(scheme, bucket, key)


def refuse_foreign(args: list[str]) -> None:
    """Refuse web addresses and stores of other kinds among the arguments of a command, without repeating their secrets.

    Raises:
        BucketError: Naming scheme and host.
    """
    from vc_contracts.bucket.errors import BucketError

    for arg in args:
        text = arg.partition("=")[2] if arg.startswith("--") and "=" in arg else arg
        match = _OTHERS.match(text)
        if match is None:
            continue
        host = re.split(r"[/?#]", text[match.end() :], maxsplit=1)[0].rpartition("@")[2]
        scheme = match.group(1).lower()
        do = {
            "s3a": "Write s3:// instead.", "s3n": "Write s3:// instead.", "gcs": "Write gs:// instead.",
            "file": "Write the path alone.",
        }.get(scheme, "Download it first, e.g. with curl, and pass the file.")  # fmt: skip
        expected = "a local path, s3://BUCKET/KEY or gs://BUCKET/KEY"
        raise BucketError(f"{scheme}://{host}/...", "address", expected, f"{scheme}://", do)


def cache_folder() -> Path:
    """Folder for local copies: `VC_BUCKET_CACHE`, else one in the user's cache folder."""
    given = os.environ.get(CACHE)
    if given:
        return Path(given).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "virtual-cell" / "buckets"


def shown(value: str | Path) -> str:
    """A text for people and records: local copies as the addresses they stand for, addresses as users write them."""
    from vc_contracts.bucket import names

    return re.sub(r"(?<![\w-])(s3|gs):/(?=[^/\s])", r"\1://", names.replace(str(value)))
