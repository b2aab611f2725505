"""Imported by every Python whose PYTHONPATH has this folder: notes whom it calls, looks up or listens for.

A line of the file that WATCHED names is [event, host, port]. Threads, forks and spawned processes are heard alike.
"""

import json
import os
import sys

EVENTS = ("socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg")
NAMES = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")


def hear(event, arguments):
    """Be an audit hook, which stays for the life of the process."""
    at = arguments[1] if event in EVENTS else (*arguments, None) if event in NAMES else None
    if isinstance(at, tuple) and (path := os.environ.get("WATCHED")):  # a text or bytes: a socket of this machine
        row = [each.decode() if isinstance(each, bytes) else each for each in at[:2]]
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps([event, *row]) + "\n")


sys.addaudithook(hear)
