"""Objects in stores such as S3, and on web servers: named by URLs, read by ranges, written whole.

What is here needs the extra `remote` (fsspec) when an object is read or written, and not before.
"""
