# SPDX-License-Identifier: Apache-2.0
"""prometheus_client: PEER_WORKERS processes share PEER_SERIES series, and PEER_RESTARTS of them are replaced first.

With one worker, the process itself has all series, and the single-process mode serves them.
"""
import os
import signal
import tempfile

import contract

workers, restarts = contract.setting("PEER_WORKERS"), contract.setting("PEER_RESTARTS")
if workers > 1:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp()  # below the harness' own folder

import prometheus_client as client
from prometheus_client import multiprocess

client.disable_created_metrics()  # else there are twice as many samples
pids = {}


def fill(worker):
    requests = client.Counter("requests", "Requests handled.", ["worker", "path"])
    for number in range(worker, contract.setting("PEER_SERIES"), workers):
        requests.labels(str(worker), f"/api/v1/resource/{number}").inc(number)


def start(worker):
    ready, filled = os.pipe()
    pid = os.fork()
    if pid == 0:
        fill(worker)
        os.write(filled, b"x")
        while True:
            signal.pause()
    os.read(ready, 1)
    os.close(ready)
    os.close(filled)
    pids[worker] = pid


if workers == 1:
    fill(0)
    registry = client.REGISTRY
    for collector in list(registry._collector_to_names):
        if isinstance(collector, (client.ProcessCollector, client.PlatformCollector, client.GCCollector)):
            registry.unregister(collector)
else:
    for worker in range(workers):
        start(worker)
    for number in range(restarts):
        pid = pids[number % workers]
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        multiprocess.mark_process_dead(pid)
        start(number % workers)
    registry = client.CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
client.start_http_server(contract.setting("PEER_PORT"), "127.0.0.1", registry=registry)
while True:
    signal.pause()
