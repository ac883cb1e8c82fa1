"""Exits 0 where /livez answers 200. A plain socket: the modules of an HTTP client take longer than the answer."""

import socket
import sys

port = int(sys.argv[1]) if len(sys.argv) > 1 else 8080
with socket.create_connection(("127.0.0.1", port), timeout=2) as connection, connection.makefile("rb") as answer:
    connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    status = answer.readline().split()
sys.exit(status[1:2] != [b"200"])
