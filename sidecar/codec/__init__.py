"""Sans-I/O protocol codecs: HTTP/1, HTTP/2, header validity."""
