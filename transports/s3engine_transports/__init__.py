"""The transports that ship with s3engine. The engine finds them by a table of dotted names, never by an import."""
