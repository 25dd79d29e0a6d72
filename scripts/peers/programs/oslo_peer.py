# SPDX-License-Identifier: Apache-2.0
"""oslo.service on the backend PEER_KIND; on `threading` its launcher is Cotyledon's."""
import os
import sys
import time
import warnings

import contract

warnings.simplefilter("ignore")
kind = os.environ["PEER_KIND"]
if kind == "eventlet":
    import eventlet
    eventlet.monkey_patch()

from oslo_config import cfg
from oslo_service import backend

backend.init_backend(backend.BackendType(kind))
from oslo_service import loopingcall, service, threadgroup  # noqa: E402, of the backend just chosen


class Idle(service.Service):
    def start(self):
        contract.start_of_worker()
        super().start()
        if "PEER_HANG" in os.environ:
            self.tg.add_timer(1, contract.may_hang)


def loops():
    measurement = contract.Loops()
    for of_loop in measurement.instants:
        def call(add=of_loop.append):
            add(contract.clock())
        loopingcall.FixedIntervalLoopingCall(call).start(interval=measurement.interval)
    time.sleep(measurement.seconds)
    measurement.finish()


def start_and_wait(count):
    group = threadgroup.ThreadGroup(1000)
    for _ in range(count):
        group.add_thread(lambda: None)
    group.wait()


task = os.environ["PEER_TASK"]
if task == "loops":
    loops()
elif task == "jobs":
    contract.measure_jobs(start_and_wait)
    os._exit(0)
else:
    configuration = cfg.ConfigOpts()
    configuration([], project="peer")
    launcher = service.ProcessLauncher(configuration)
    launcher.launch_service(Idle(), workers=contract.setting("PEER_WORKERS"))
    sys.exit(launcher.wait())
