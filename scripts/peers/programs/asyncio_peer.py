# SPDX-License-Identifier: Apache-2.0
"""asyncio alone."""
import asyncio
import os

import contract


def loops():
    measurement = contract.Loops()
    loop = asyncio.new_event_loop()

    def call(add, due):
        add(contract.clock())
        # On a grid, which is more than loop.call_later() gives.
        due += measurement.interval
        loop.call_at(due, call, add, due)

    for of_loop in measurement.instants:
        loop.call_soon(call, of_loop.append, loop.time())
    loop.call_later(measurement.seconds, measurement.finish)
    loop.run_forever()


async def nothing():
    pass


def start_and_wait(count):
    async def run():
        await asyncio.gather(*(nothing() for _ in range(count)))
    asyncio.run(run())


if os.environ["PEER_TASK"] == "loops":
    loops()
else:
    contract.measure_jobs(start_and_wait)
