"""Runs a program in a container, without a shell: the exec subresource over a WebSocket.

Protocol: ``v5.channel.k8s.io`` (KEP-4006; v4 has the same channels): the first byte of each message names
the channel, 1 and 2 are the program's outputs, 3 is a Status that says how it ended.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

import aiohttp

from incident_operator.cluster.connection import Connection
from incident_operator.cluster.errors import FORBIDDEN, refused, unreachable
from incident_operator.cluster.port import Ran
from incident_operator.faults import Waiting

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
RESOURCE = "pods/exec"
OUTPUT, ERRORS, VERDICT = 1, 2, 3
MOST_OUTPUT = 64 * 1024
MOST_SAID = 500


async def run(
    connection: Connection,
    path: str,
    argv: Sequence[str],
    *,
    container: str,
    what: str,
    identity: str,
    headers: Mapping[str, str],
    seconds: float,
) -> Ran:
    """Run it to its end; Waiting where it did not end in time or nobody said how."""
    query = [("command", each) for each in argv] + [("stdout", "1"), ("stderr", "1")]
    query += [("container", container)] if container else []
    try:
        async with asyncio.timeout(seconds):
            return await _conversation(connection, f"{path}?{urlencode(query)}", what, headers)
    except aiohttp.WSServerHandshakeError as cause:
        body = await _words(connection, path, what, identity, headers) if cause.status == FORBIDDEN else b""
        raise refused(what, cause.status, body, {}, identity=identity) from cause
    except TimeoutError as cause:
        raise Waiting("ExecTimedOut", f"could not {what}: it had not ended after {seconds:g} s") from cause
    except (aiohttp.ClientError, OSError) as cause:
        raise unreachable(what, cause, identity=identity) from cause


async def _words(connection: Connection, path: str, what: str, identity: str, headers: Mapping[str, str]) -> bytes:
    """Which right is missing, which a refused WebSocket does not say: asked without one, nothing is ever run."""
    code, body, _ = await connection.send("GET", path, what=what, identity=identity, headers=headers, resource=RESOURCE)
    return body if code == FORBIDDEN else b""


async def _conversation(connection: Connection, where: str, what: str, headers: Mapping[str, str]) -> Ran:
    """Everything that is said until the verdict."""
    said = {OUTPUT: b"", ERRORS: b"", VERDICT: b""}
    async with connection.socket(where, headers, PROTOCOLS) as socket:
        async for message in socket:
            if message.type is not aiohttp.WSMsgType.BINARY or not message.data:
                continue
            channel, part = message.data[0], message.data[1:]
            if channel in said and len(said[channel]) < MOST_OUTPUT:
                said[channel] = (said[channel] + part)[:MOST_OUTPUT]
            if channel == VERDICT:
                break
    if not said[VERDICT]:
        raise Waiting("ExecBroken", f"could not {what}: nobody said how it ended")
    last = said[ERRORS].decode(errors="replace").strip().splitlines()
    return Ran(_exit_code(said[VERDICT]), said[OUTPUT].decode(errors="replace"), (last or [""])[-1][:MOST_SAID])


def _exit_code(verdict: bytes) -> int | None:
    """0 for Success, the number that the Status names, None where it could not be run at all."""
    told = json.loads(verdict)
    if told.get("status") == "Success":
        return 0
    causes = (told.get("details") or {}).get("causes") or ()
    found = next((each.get("message", "") for each in causes if each.get("reason") == "ExitCode"), "")
    return int(found) if found.isdecimal() else None
