# SPDX-License-Identifier: Apache-2.0
"""The Python peers' side of the contract in ../bench."""
import os
import time

# The real ones: oslo_peer.py imports this module before eventlet replaces them.
clock = time.monotonic_ns
read = os.read


def setting(name):
    return int(os.environ[name])


def log(line):
    file = os.open(os.environ["PEER_LOG"], os.O_WRONLY | os.O_APPEND)
    os.write(file, f"{line}\n".encode())
    os.close(file)


def start_of_worker():
    log(f"{os.getpid()} {clock()}")
    if "PEER_CRASHES" in os.environ:
        os._exit(1)


def may_hang():
    """Blocks for ever if this is the worker that is to."""
    try:
        os.unlink(os.environ["PEER_HANG"])
    except FileNotFoundError:
        return
    read(os.pipe()[0], 1)


class Loops:
    """The instants of the calls of all loops."""

    def __init__(self):
        self.interval = setting("PEER_INTERVAL") / 1e9
        self.seconds = setting("PEER_SECONDS")
        self.instants = [[] for _ in range(setting("PEER_LOOPS"))]

    def finish(self):
        # Other threads go on adding to them.
        log("\n".join(f"{number} {instant}" for number, of_loop in enumerate(self.instants)
                      for instant in list(of_loop)))
        os._exit(0)


def measure_jobs(start_and_wait):
    """Calls `start_and_wait(count)` five times, and logs what a job took."""
    count = setting("PEER_JOBS")
    for _ in range(5):
        start = clock()
        start_and_wait(count)
        log((clock() - start) // count)
