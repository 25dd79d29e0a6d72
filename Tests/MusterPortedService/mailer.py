# SPDX-License-Identifier: Apache-2.0
"""The service before its port: what MailerService.swift does, with oslo.service."""
import os
import sys

from oslo_config import cfg
from oslo_service import backend
from oslo_service import loopingcall
from oslo_service import service

WORKERS = int(os.environ.get("MAILER_WORKERS", "3"))
backend.init_backend(backend.BackendType[os.environ.get("MAILER_BACKEND", "EVENTLET")])


class Unreachable(Exception):
    pass


class Mailer(service.Service):
    def __init__(self):
        super().__init__(threads=100)
        self.delivered = 0
        self.attempts = 0

    def start(self):
        self.signature = self.read_signature()
        self.tg.add_timer(0.05, self.deliver)
        self.tg.add_dynamic_timer(self.poll, periodic_interval_max=60)
        self.tg.add_thread(self.import_addresses)

    def stop(self, graceful=False):
        super().stop(graceful)
        print("stopped", os.getpid(), flush=True)

    def reset(self):
        self.signature = self.read_signature()
        print("reset", os.getpid(), self.signature, flush=True)

    def read_signature(self):
        with open(os.environ["MAILER_SIGNATURE"]) as file:
            return file.read().strip()

    def deliver(self):
        self.send()
        self.delivered += 1
        print("delivered", os.getpid(), self.signature, self.delivered, flush=True)

    @loopingcall.RetryDecorator(max_retry_count=3, inc_sleep_time=0.01, max_sleep_time=1, exceptions=(Unreachable,))
    def send(self):
        self.attempts += 1
        if self.attempts % 3 != 0:
            raise Unreachable()

    def poll(self):
        print("polled", os.getpid(), flush=True)
        return 0.1

    def import_addresses(self):
        print("imported", os.getpid(), 3, flush=True)


launcher = service.launch(cfg.CONF, Mailer(), workers=WORKERS, restart_method="mutate")
sys.exit(launcher.wait())
