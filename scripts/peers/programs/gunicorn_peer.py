# SPDX-License-Identifier: Apache-2.0
"""An application for gunicorn, which each worker imports: its first own code."""
import contract

contract.start_of_worker()


def application(environment, start_response):
    if environment["PATH_INFO"] == "/hang":
        contract.may_hang()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]
