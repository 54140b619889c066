"""What goes wrong in a bucket, in one sentence each; what a server or a library says is never repeated whole.

Answers of servers may hold key ids, signatures and signed addresses. So a message is made of our own words, and the little
that is quoted goes through `scrub`.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from vc_contracts.errors import FieldRefusal

SECRETS = (
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "GOOGLE_SERVICE_ACCOUNT_KEY",
    "GOOGLE_API_KEY", "AWS_CONTAINER_AUTHORIZATION_TOKEN",
)  # fmt: skip
CREDENTIALS = {
    "s3": "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN where there is one), or "
    "AWS_SKIP_SIGNATURE=true for a public bucket; `aws configure export-credentials --format env` prints those of a profile.",
    "gs": "Set GOOGLE_APPLICATION_CREDENTIALS to a credentials file, or run where the machine has a service account.",
}
_OF_TENSORSTORE = re.compile(r"(NOT_FOUND|PERMISSION_DENIED|UNAUTHENTICATED|UNAVAILABLE|ABORTED|DEADLINE_EXCEEDED): ")
_LOST = "a dropped or refused connection, also after several tries"
_TOLD = [
    (re.compile(pattern, re.IGNORECASE), expected, found, do)
    for pattern, expected, found, do in (
        (
            r"NoSuchBucket|bucket does not exist",
            "an existing bucket", "no such bucket", "Check its name, or make it first.",
        ),
        (
            r"PermanentRedirect|AuthorizationHeaderMalformed|IllegalLocationConstraint|status code: 301",
            "the bucket's region", "another one", "Set AWS_REGION to the region of the bucket.",
        ),
        (
            r"169\.254|metadata\.google|NoCredentials|credentials? (provider|not)|no .{0,20}credential",
            "credentials in the environment", "none that can be used", "{credentials}",
        ),
        (
            r"AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch|PermissionDenied|Unauthenticated|PERMISSION_DENIED"
            r"|status code: 40[13]|HTTP response code: 40[13]|Forbidden|ExpiredToken",
            "permission", "permission denied for these credentials",
            "Ask for the right to read (or write) there, or take other credentials. {credentials}",
        ),
        (
            r"FileNotFoundError|NOT_FOUND|NoSuchKey|status code: 404",
            "an object or folder", "nothing there", "Check the address.",
        ),
        (
            r"after \d+ retries|error sending|connect|timed? ?out|UNAVAILABLE|DEADLINE|ABORTED|HTTP error|body|dns"
            r"|status code: 5\d\d",
            "an answer", _LOST,
            "Check the network and AWS_ENDPOINT_URL (where it is set), then type the same command again.",
        ),
    )
]  # fmt: skip
"""What a client library says, and what that means: pattern, expected, found, what to do."""


class BucketError(FieldRefusal):
    """Something in a bucket that cannot be reached, read or written."""


class AbsentError(BucketError):
    """Nothing at an address."""


class LostError(BucketError):
    """A connection that was dropped or refused."""

    tried = False
    """The client library has tried several times already."""


@contextlib.contextmanager
def plainly(where: object) -> Iterator[None]:
    """Raise what a client library raises as a `BucketError` in our own words.

    Args:
        where: The address.
    """
    try:
        yield
    except FieldRefusal:
        raise
    except Exception as error:
        told = told_of(error, str(where))
        if told is None:
            raise
        raise told from None


def is_of_client(error: BaseException) -> bool:
    """Whether an error comes from a library that talks to buckets; obstore raises Python's own kinds, too."""
    of_obstore = any(base.__module__.startswith("obstore") for base in type(error).__mro__)
    return of_obstore or "Error performing" in str(error) or bool(_OF_TENSORSTORE.match(str(error)))


def told_of(error: BaseException, where: str) -> BucketError | None:
    """The message for an error of a client library; None for any other error."""
    if not is_of_client(error):
        return None
    text = f"{type(error).__name__} {str(error).partition('Debug source')[0]}"
    scheme = where.partition(":")[0]
    for pattern, expected, found, do in _TOLD:
        if pattern.search(text):
            do = do.format(credentials=CREDENTIALS.get(scheme, CREDENTIALS["s3"]))
            kind = {"nothing there": AbsentError, _LOST: LostError}.get(found, BucketError)
            told = kind(where, "bucket", expected, found, do)
            if isinstance(told, LostError):
                told.tried = bool(re.search(r"after [1-9]\d* retries", text))
            return told
    found = scrub(str(error))[:160]
    return BucketError(where, "bucket", "an answer that can be used", found, "Check the address and the settings.")


def scrub(text: str) -> str:
    """The first line of a text, without credentials and signatures."""
    text = (text.splitlines() or [""])[0]
    for name in SECRETS:
        value = os.environ.get(name)
        if value and len(value) > 3:
            text = text.replace(value, "***")
    return re.sub(
        r"(X-Amz-[A-Za-z-]+|Signature|AWSAccessKeyId|Authorization|access_token|sig)\s*([=:]\s*)[^\s&;,<>]+",
        r"\1\2***",
        text,
        flags=re.IGNORECASE,
    )


def missing_extra(where: str | Path) -> BucketError:
    """The refusal where the library for buckets is not installed."""
    do = "Install it: pip install 'vc-contracts[cloud]'."
    return BucketError(where, "bucket", "the library obstore", "none installed", do)
