"""Hashes of files; all of it is `vc_contracts.hashing`."""

from vc_contracts.hashing import hash_beside, sha256_tree

__all__ = ["hash_beside", "sha256_tree"]
