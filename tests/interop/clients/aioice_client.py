"""aioice: two ICE agents that know only their relayed candidates talk to each other.

The relay and the credentials come from the environment, see `cargo xtask interop`.
Last line of stdout: one JSON object. Certificates are verified against SSL_CERT_FILE.
"""

import asyncio
import json
import os

import aioice

MESSAGES = 200
# Half the largest payload that fits everywhere, so that it is a datagram of ordinary size.
PAYLOAD = bytes(range(256)) * 4


def agent(controlling: bool) -> aioice.Connection:
    transport = os.environ["INTEROP_TRANSPORT"]
    return aioice.Connection(
        ice_controlling=controlling,
        turn_server=(os.environ["INTEROP_HOST"], int(os.environ["INTEROP_PORT"])),
        turn_username=os.environ["INTEROP_USER"],
        turn_password=os.environ["INTEROP_PASSWORD"],
        turn_transport="udp" if transport == "udp" else "tcp",
        turn_ssl=transport == "tls",
        transport_policy=aioice.TransportPolicy.RELAY,
    )


async def introduce(caller: aioice.Connection, callee: aioice.Connection) -> None:
    await asyncio.gather(caller.gather_candidates(), callee.gather_candidates())
    for one, other in ((caller, callee), (callee, caller)):
        kinds = {candidate.type for candidate in other.local_candidates}
        if kinds != {"relay"}:
            raise SystemExit(f"expected relayed candidates only, got {kinds or 'none'}")
        for candidate in other.local_candidates:
            await one.add_remote_candidate(candidate)
        await one.add_remote_candidate(None)
        one.remote_username = other.local_username
        one.remote_password = other.local_password
    await asyncio.gather(caller.connect(), callee.connect())


async def exchange(caller: aioice.Connection, callee: aioice.Connection) -> None:
    for number in range(MESSAGES):
        sent = number.to_bytes(4, "big") + PAYLOAD
        await caller.send(sent)
        assert await callee.recv() == sent, "the callee received something else"
        await callee.send(sent)
        assert await caller.recv() == sent, "the caller received something else"


async def main() -> None:
    caller, callee = agent(True), agent(False)
    try:
        await introduce(caller, callee)
        await exchange(caller, callee)
    finally:
        await asyncio.gather(caller.close(), callee.close())
    print(json.dumps({"messages": 2 * MESSAGES, "version": aioice.__version__}))


asyncio.run(asyncio.wait_for(main(), 20))
