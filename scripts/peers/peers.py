# SPDX-License-Identifier: Apache-2.0
"""Who is measured: the programs, how each is started, and where it stands in the table."""
import dataclasses
import functools
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PROGRAMS = pathlib.Path(__file__).resolve().parent / "programs"
BUILT = ROOT / ".build/peers"
PYTHON = BUILT / "venv/bin/python"
MUSTER = ROOT / ".build/release/muster-peer"
COLUMNS = ["Muster, cooperative", "Muster, threading", "oslo.service, eventlet", "oslo.service, threading",
           "other Python", "Go", "Swift alone", "C"]


@dataclasses.dataclass(frozen=True)
class Peer:
    name: str
    column: str
    command: tuple
    kind: str = "-"
    label: str = ""  # what a cell says if several peers share a column
    module: str = ""  # what the Python environment needs

    def is_available(self):
        return os.access(self.command[0], os.X_OK) and (not self.module or has_module(self.module))

    def start(self, folder, task, **settings):
        """Starts it in the foreground with the contract's variables, `PEER_` put before the names of `settings`."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("MUSTER_", "PEER_"))}
        # The one setting that is no default: a port that is free. Temporary files go with the folder.
        environment |= {"MUSTER_ENDPOINT_ADDRESS": "127.0.0.1:0", "TMPDIR": str(folder), "PEER_TASK": task,
                        "PEER_KIND": self.kind, "PEER_LOG": str(folder / "log")}
        for name, value in settings.items():
            environment[name if name.startswith("MUSTER_") else f"PEER_{name}"] = str(value)
        with open(folder / "output", "wb") as output:
            return subprocess.Popen([str(part).replace("FOLDER", str(folder)) for part in self.command],
                                    cwd=PROGRAMS, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output)


@functools.cache
def has_module(name):
    return subprocess.run([PYTHON, "-W", "ignore", "-c", f"import {name}"], stderr=subprocess.DEVNULL).returncode == 0


def python(name, column, program, module="", **rest):
    return Peer(name, column, (PYTHON, PROGRAMS / program), module=module, **rest)


MUSTERS = [Peer(f"muster-{kind}", f"Muster, {kind}", (MUSTER,), kind) for kind in ("cooperative", "threading")]
OSLO = [python(f"oslo-{kind}", f"oslo.service, {kind}", "oslo_peer.py", module, kind=kind)
        for kind, module in (("eventlet", "oslo_service, eventlet"), ("threading", "oslo_service, cotyledon"))]
GUNICORN = Peer("gunicorn", "other Python", (PYTHON, "-m", "gunicorn", "--workers", "4", "--bind", "unix:FOLDER/socket",
                                             "gunicorn_peer:application"), label="gunicorn", module="gunicorn")
ASYNCIO = python("asyncio", "other Python", "asyncio_peer.py", label="asyncio")
PROMETHEUS = python("prometheus_client", "other Python", "prometheus_peer.py", "prometheus_client",
                    label="prometheus_client")
TICKER, SLEEP = (Peer(f"go-{kind}", "Go", (BUILT / "peer-go",), kind, label)
                 for kind, label in (("ticker", "Ticker"), ("sleep", "Sleep")))
GOROUTINES = dataclasses.replace(TICKER, name="goroutines", label="goroutines")
CLIENT_GOLANG = dataclasses.replace(TICKER, name="client_golang", label="client_golang")
TASKS = Peer("swift-tasks", "Swift alone", (MUSTER,), "tasks")
C = Peer("c", "C", (BUILT / "peer-c",))


def build():
    """Builds the programs in C and Go, if they are not there. One that cannot be built is skipped."""
    BUILT.mkdir(parents=True, exist_ok=True)
    # Debian's Go packages are a GOPATH.
    go = dict(os.environ, GO111MODULE="off", GOPATH="/usr/share/gocode", GOFLAGS="", GOCACHE=str(BUILT / "go-cache"))
    for program, command, environment in (
        ("peer.c", [os.environ.get("CC", "clang"), "-O2", "-pthread"], os.environ), ("peer.go", ["go", "build"], go),
    ):
        source, built = PROGRAMS / program, BUILT / program.replace(".", "-")
        if built.exists() and built.stat().st_mtime > source.stat().st_mtime:
            continue
        try:
            subprocess.run([*command, "-o", built, source], env=environment, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"peers: {program} could not be built: {error}", file=sys.stderr)


def versions():
    """What was measured, as far as it is there."""
    found = {}
    commands = {"Swift": ["swift", "--version"], "Go": ["go", "version"], "Python": [PYTHON, "--version"],
                "client_golang": ["dpkg-query", "-Wf", "${Version}", "golang-github-prometheus-client-golang-dev"],
                "pip": [PYTHON, "-m", "pip", "list", "--format", "freeze", "--disable-pip-version-check"]}
    for name, command in commands.items():
        try:
            text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError):
            continue
        if name == "pip":
            wanted = ("oslo.service", "eventlet", "cotyledon", "gunicorn", "prometheus_client")
            found |= {line.split("==")[0]: line.split("==")[1] for line in text.split() if line.startswith(wanted)}
        else:
            words = text.replace("go1", "1").split()
            found[name] = next((word for word in words if word[0].isdigit()), text.strip())
    return found
