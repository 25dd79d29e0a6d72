# SPDX-License-Identifier: Apache-2.0
"""What is measured. A measure runs a peer once and returns figures: name -> values, or a text where there is no number."""
import dataclasses
import gzip
import http.client
import os
import signal
import socket
import statistics
import threading
import time
import typing

from peers import (ASYNCIO, C, CLIENT_GOLANG, GOROUTINES, GUNICORN, MUSTERS, OSLO, PROMETHEUS, SLEEP, TASKS, TICKER)
from processes import (clock, processor_use, proportional_memory, threads, wait_for_ends)

WORKERS = 4
SUPERVISORS = [*MUSTERS, *OSLO, GUNICORN, C]
LOOPERS = [*MUSTERS, *OSLO, ASYNCIO, TICKER, SLEEP, TASKS, C]


@dataclasses.dataclass(frozen=True)
class Measure:
    name: str
    peers: list
    # Takes a stage and a peer; or, if the measure only waits, a stage and all peers, and returns figures by peer.
    run: typing.Callable
    at_once: bool = False
    once: bool = False


def milliseconds(start, end):
    return (end - start) / 1e6


# Looping calls


def looping(interval_ms, seconds, loops, rest=1, with_start=True):
    def run(stage, peer):
        interval = interval_ms * 1_000_000
        run = stage.start(peer, "loops", INTERVAL=interval, SECONDS=seconds, LOOPS=loops, WORKERS=1)
        # Its start and its end, when it writes its log, are not what a loop costs.
        time.sleep(rest)
        if run.process.poll() is not None:
            raise run.failure(f"status {run.process.returncode}")
        begin, (before, _) = clock(), processor_use([run.pid])
        time.sleep(seconds - rest - 0.5)
        (after, _), elapsed = processor_use([run.pid]), (clock() - begin) / 1e9
        count, size = threads(run.pid), proportional_memory(run.pid)
        if run.process.wait(60):
            raise run.failure(f"status {run.process.returncode}")
        log = run.log() if with_start else [call for call in run.log() if call[1] >= begin]
        figures = lateness(log, interval)
        return figures | {"processor": [100 * (after - before) / elapsed], "threads": [count], "memory": [size]}
    return run


def lateness(log, interval):
    """How late the calls of all loops were, in milliseconds, and by how much a loop falls behind in a second.

    A loop's grid goes through its most punctual call: the very first one may be late itself.
    """
    calls = {}
    for loop, instant in log:
        calls.setdefault(loop, []).append(instant)
    late, drift, made, due = [], [], 0, 0
    for instants in calls.values():
        offsets = [instant - number * interval for number, instant in enumerate(instants)]
        grid = min(offsets)
        late += [offset - grid for offset in offsets]
        span = instants[-1] - instants[0]
        drift.append((min(offsets[-10:]) - min(offsets[:10])) / span * 1e3 if span else 0)
        made += len(instants)
        due += span / interval + 1
    if made > 1.5 * due:
        return dict.fromkeys(("lateness", "tail", "drift"), "runs too often") | {"calls": [100 * made / due]}
    late.sort()
    return {"lateness": [late[len(late) // 2] / 1e6], "tail": [late[len(late) * 99 // 100] / 1e6],
            "drift": [statistics.median(drift)], "calls": [100 * made / due]}


# Supervision


def supervise(stage, peer, workers=WORKERS, **settings):
    """A supervisor whose workers have started, and the milliseconds that it took."""
    run = stage.start(peer, "workers", WORKERS=workers, **settings)
    if not (log := run.wait_for_log(workers, 30)):
        raise run.failure("its workers did not start")
    return run, milliseconds(run.began, log[workers - 1][1])


def kill_one(run, pid, seconds=20):
    count, killed = len(run.log()), clock()
    os.kill(pid, signal.SIGKILL)
    if not (log := run.wait_for_log(count + 1, seconds)):
        raise run.failure("no worker took the place of a killed one")
    return milliseconds(killed, log[count][1])


def stop(run):
    pids, asked = run.tree(), clock()
    os.kill(run.pid, signal.SIGTERM)
    ends = wait_for_ends(pids, 60)
    if len(ends) < len(pids):
        raise run.failure("SIGTERM did not end it within a minute")
    return milliseconds(asked, max(ends.values()))


def supervision(stage, peer):
    run, started = supervise(stage, peer)
    time.sleep(4)
    pids, workers = run.tree(), run.workers()
    begin, (seconds, switches) = clock(), processor_use(pids)
    time.sleep(4)
    elapsed = (clock() - begin) / 1e9
    after = processor_use(pids)
    figures = {
        "start": [started],
        "idle processor": [1e3 * (after[0] - seconds) / elapsed], "wakeups": [(after[1] - switches) / elapsed],
        "worker memory": [statistics.median(map(proportional_memory, workers))],
        "supervisor memory": [sum(proportional_memory(pid) for pid in pids if pid not in workers)],
    }
    killed = clock()
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    if not (log := run.wait_for_log(2 * WORKERS, 20)):
        raise run.failure("not all workers came back")
    figures |= {"first back": [milliseconds(killed, log[WORKERS][1])],
                "all back": [milliseconds(killed, log[2 * WORKERS - 1][1])], "restart": []}
    # Some hold restarts back that follow on more than four starts within as many seconds.
    time.sleep(5)
    for _ in range(6):
        figures["restart"].append(kill_one(run, run.workers()[0]))
        time.sleep(1.2)
    return figures | {"stop": [stop(run)]}


def crash_loop(stage, peer):
    run = stage.start(peer, "workers", WORKERS=WORKERS, CRASHES=1)
    time.sleep(10)
    return {"starts": [len(run.log())]}


def hang(stage, peers):
    runs, waits = {}, 45
    for peer in peers:
        folder = stage.folder / f"{peer.name}-hang"
        runs[peer] = supervise(stage, peer, HANG=folder)[0], folder
    time.sleep(3)
    began = {}
    for peer, (run, file) in runs.items():
        file.touch()
        began[peer] = clock()
        if peer is GUNICORN:
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(str(run.folder / "socket"))
            connection.sendall(b"GET /hang HTTP/1.1\r\nHost: localhost\r\n\r\n")
    time.sleep(waits)
    figures = {}
    for peer, (run, file) in runs.items():
        replaced = run.log()[WORKERS:]
        if file.exists():
            raise run.failure(f"no worker of {peer.name} hung")
        figures[peer] = {"noticed": [(replaced[0][1] - began[peer]) / 1e9] if replaced else f"not in {waits} s"}
    return figures


def supervisor_killed(stage, peers):
    runs, waits, figures = {peer: supervise(stage, peer)[0] for peer in peers}, 20, {}
    time.sleep(3)

    def kill(peer, run):
        workers, killed = run.workers(), clock()
        os.kill(run.pid, signal.SIGKILL)
        ends = wait_for_ends(workers, waits)
        figures[peer] = {"gone": [milliseconds(killed, max(ends.values()))] if len(ends) == len(workers)
                         else f"{len(workers) - len(ends)} live on for {waits} s"}

    waiting = [threading.Thread(target=kill, args=pair) for pair in runs.items()]
    for thread in waiting:
        thread.start()
    for thread in waiting:
        thread.join()
    return figures


# Scrapes and jobs

SERIES = 10_000


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def scrape(connection, encoding):
    """The milliseconds from the request to the last byte, and the number of samples."""
    begin = clock()
    # Connects anew if the server has closed the connection.
    connection.request("GET", "/metrics", headers={"Accept": "text/plain", "Accept-Encoding": encoding})
    response = connection.getresponse()
    body = response.read()
    took = milliseconds(begin, clock())
    is_compressed = response.headers.get("Content-Encoding") == "gzip"
    if is_compressed:
        body = gzip.decompress(body)
    return took, sum(1 for line in body.splitlines() if line and not line.startswith(b"#")), is_compressed


def scraping(workers, restarts=0):
    def run(stage, peer):
        port = free_port()
        page = stage.folder / "page"
        page.write_text("".join(f'requests_total{{worker="{number % 4}",path="/api/v1/resource/{number}"}} {number}\n'
                                for number in range(SERIES)))
        settings = {"PORT": port, "PAGE": page, "WORKERS": workers, "RESTARTS": restarts, "SERIES": SERIES}
        if peer in MUSTERS:
            # Each worker has its share. What is measured is the scrape, not how fast 50 restarts may follow each other.
            settings |= {"SERIES": SERIES // workers, "MUSTER_ENDPOINT_ADDRESS": f"127.0.0.1:{port}",
                         "MUSTER_RESTART_BACKOFF_BASE": "0s", "MUSTER_RESTART_INTENSITY_MAXIMUM": 0}
        run = stage.start(peer, "series", **settings)
        if peer in MUSTERS:
            if not run.wait_for_log(workers, 30):
                raise run.failure("its workers did not start")
            for _ in range(restarts):
                kill_one(run, run.workers()[0])
        return scrapes(run, port, SERIES)
    return run


def scrapes(run, port, expected):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    deadline = time.monotonic() + 60
    while True:
        try:
            scrape(connection, "identity")
            break
        except ConnectionRefusedError:
            if run.process.poll() is not None or time.monotonic() > deadline:
                raise run.failure("it serves nothing") from None
            connection.close()
            time.sleep(0.05)
    figures = {"plain": [], "gzip": []}
    for name, encoding in (("plain", "identity"), ("gzip", "gzip")):
        end = time.monotonic() + 2
        while len(figures[name]) < 20 and (time.monotonic() < end or len(figures[name]) < 3):
            took, samples, is_compressed = scrape(connection, encoding)
            figures[name].append(took)
        if samples < expected:
            raise run.failure(f"{samples} samples instead of {expected}")
    connection.close()
    if not is_compressed:
        figures["gzip"] = "not compressed"
    return figures


def jobs(stage, peer):
    run = stage.start(peer, "jobs", JOBS=5000, WORKERS=1)
    if run.process.wait(60):
        raise run.failure(f"status {run.process.returncode}")
    return {"job": [nanoseconds / 1e3 for (nanoseconds,) in run.log()]}


MEASURES = [
    Measure("loops-10ms", LOOPERS, looping(10, 4, 1)),
    Measure("loops-1ms", LOOPERS, looping(1, 3, 1)),
    Measure("loops-1000", LOOPERS, looping(100, 5, 1000)),
    Measure("supervision", SUPERVISORS, supervision),
    Measure("scrape", [*MUSTERS, PROMETHEUS, CLIENT_GOLANG, C], scraping(1)),
    Measure("scrape-workers", [*MUSTERS, PROMETHEUS], scraping(WORKERS)),
    Measure("scrape-restarts", [*MUSTERS, PROMETHEUS], scraping(WORKERS, 50)),
    Measure("jobs", [*MUSTERS, *OSLO, ASYNCIO, GOROUTINES, TASKS, C], jobs),
    Measure("crash-loop", [*MUSTERS, *OSLO, GUNICORN], crash_loop, once=True),
    Measure("hang", [*MUSTERS, *OSLO, GUNICORN], hang, at_once=True, once=True),
    Measure("supervisor-killed", SUPERVISORS, supervisor_killed, at_once=True, once=True),
]
