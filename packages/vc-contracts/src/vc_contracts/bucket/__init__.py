"""Files that lie in a bucket: `s3://BUCKET/KEY` and `gs://BUCKET/KEY`, read in place, fetched, and written whole.

`address` says what is one, `client` opens it, `remote` lists, reads and writes objects, `local` keeps checked local copies,
`stage` lets a command work on addresses as on local files. What a bucket promises is in docs/how-to/buckets.md.
"""
