# SPDX-License-Identifier: Apache-2.0
"""Processes seen from outside: what /proc says of them, and an end for all that were started."""
import ctypes
import os
import pathlib
import resource
import select
import shutil
import signal
import sys
import tempfile
import time

TICKS = os.sysconf("SC_CLK_TCK")
clock = time.monotonic_ns


def become_subreaper():
    """Orphans become this process' children: none is lost, and their processor time is counted."""
    PR_SET_CHILD_SUBREAPER = 36
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants(root):
    children = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                fields = pathlib.Path(entry.path, "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if fields[0] not in "ZX":
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, queue = [], [root]
    while queue:
        new = children.get(queue.pop(), [])
        found += new
        queue += new
    return found


def proportional_memory(pid):
    """PSS in MiB."""
    return memory(pid, "Pss")


def memory(pid, *fields):
    """The sum of these figures of all mappings, in MiB."""
    lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.split(":")[0] in fields) / 1024


def threads(pid):
    return len(os.listdir(f"/proc/{pid}/task"))


def processor_use(pids):
    """Processor time in seconds, and context switches, of all threads."""
    seconds = switches = 0
    for pid in pids:
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            try:
                seconds += int((task / "schedstat").read_text().split()[0]) / 1e9
                status = (task / "status").read_text()
            except OSError:
                continue  # a thread that has ended meanwhile
            switches += sum(int(line.split()[1]) for line in status.splitlines() if "ctxt_switches" in line)
    return seconds, switches


def wait_for_ends(pids, seconds):
    """The instants at which processes ended, of those that did within the time."""
    poll, pid_of, ends = select.poll(), {}, {}
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            ends[pid] = clock()
            continue
        pid_of[descriptor] = pid
        poll.register(descriptor, select.POLLIN)
    deadline = time.monotonic() + seconds
    while pid_of and (left := deadline - time.monotonic()) > 0:
        for descriptor, _ in poll.poll(left * 1000):
            ends[pid_of.pop(descriptor)] = clock()
            poll.unregister(descriptor)
            os.close(descriptor)
    for descriptor in pid_of:
        os.close(descriptor)
    return ends


class Failure(Exception):
    """A peer did not do what it was asked for."""


class Run:
    """A program of a peer's that runs."""

    def __init__(self, folder, peer, task, **settings):
        self.log_file = folder / "log"
        self.log_file.touch()
        self.folder, self.peer = folder, peer
        self.began = clock()
        self.process = peer.start(folder, task, **settings)
        self.pid = self.process.pid

    def log(self):
        """The lines of the program's log: numbers. A line that is being written is left out."""
        text = self.log_file.read_text()
        return [tuple(map(int, line.split())) for line in text[:text.rfind("\n") + 1].splitlines()]

    def wait_for_log(self, count, seconds):
        """The log, once it has that many lines, or nothing."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if len(log := self.log()) >= count:
                return log
            if self.process.poll() is not None:
                break
            time.sleep(0.004)
        return None

    def wait_for_output(self, text, count, seconds):
        """Waits until the program's own log has that many lines with this text."""
        deadline = time.monotonic() + seconds
        while self.output().count(text) < count:
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise self.failure(f'no {count} times "{text}"')
            time.sleep(0.004)

    def output(self):
        return (self.folder / "output").read_text(errors="replace")

    def workers(self):
        """Those alive, the oldest first: by its number alone a logged process could be another one by now."""
        alive = set(descendants(self.pid))
        return [pid for pid, _ in self.log() if pid in alive]

    def tree(self):
        return [self.pid, *descendants(self.pid)]

    def failure(self, what):
        output = self.output().strip().splitlines()
        return Failure(f"{what}: {' / '.join(output[-3:])}")


class Stage:
    """Where programs run; at its end all have ended, and it knows how much of the machine others used meanwhile."""

    def __enter__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="peers-"))
        self.count = 0
        self.before = (time.monotonic(), machine_time(), own_time())
        return self

    def start(self, peer, task, **settings):
        self.count += 1
        folder = self.folder / str(self.count)
        folder.mkdir()
        return Run(folder, peer, task, **settings)

    def __exit__(self, *_):
        deadline = time.monotonic() + 10
        while (left := descendants(os.getpid())) and time.monotonic() < deadline:
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.01)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
        elapsed = time.monotonic() - self.before[0]
        others = machine_time() - self.before[1] - (own_time() - self.before[2])
        self.others = max(0, 100 * others / elapsed)
        shutil.rmtree(self.folder, ignore_errors=True)


def machine_time():
    """Seconds for which the machine's processors have been busy, for this system or for others beside it."""
    user, nice, system, _, _, irq, softirq, steal = map(int, open("/proc/stat").readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICKS


def own_time():
    return sum(use.ru_utime + use.ru_stime
               for use in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


def progress(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
