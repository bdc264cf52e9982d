"""The store of several hosts: etcd v3 by its JSON gateway.

A session is a lease whose id is derived from its name, so that whoever knows the name can end it, or take it over after a restart.
It is kept alive while this store is open; `ttl` seconds after etcd last heard of this host, its keys are deleted. Endpoints are
tried in turn. A transaction whose answer was lost is sent again; if its compares fail then because it was carried out the first
time, that is no failure.

Spec: https://etcd.io/docs/v3.4/dev-guide/api_grpc_gateway/ and rpc.proto of etcd 3.4.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import logging
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp

from netcore import limits
from netcore.errors import Exhausted, Unavailable
from netcore.store.etcd_settings import EtcdSettings
from netcore.store.protocol import (
    EVERYTHING,
    NO_CONDITIONS,
    Change,
    Compacted,
    CompareFailed,
    Conditions,
    Item,
    KeyRange,
    Snapshot,
    Transaction,
)

log = logging.getLogger(__name__)

_UNAUTHENTICATED, _NOT_FOUND, _UNKNOWN = 16, 5, 2
_INVALID_TOKEN = "invalid auth token"


class _Refused(Exception):
    """etcd's own error. *code*: of gRPC."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class EtcdStore:
    """See `protocol.SharedStore`. Made by `open_etcd`."""

    def __init__(self, settings: EtcdSettings, session: aiohttp.ClientSession) -> None:
        self._settings = settings
        self._http = session
        self._endpoint = 0
        self._token: str | None = None
        self._leases: dict[int, asyncio.Task[None]] = {}

    async def load(self, scope: KeyRange = EVERYTHING) -> Snapshot:
        items: dict[str, Item] = {}
        start, end = self._range(scope)
        revision = 0
        while True:
            body = {"key": _text(start), "range_end": _text(end), "limit": str(limits.STORE_PAGE)}
            try:
                answer = await self._call("kv/range", {**body, **({"revision": str(revision)} if revision else {})})
            except _Refused as error:
                raise Unavailable("etcd", str(error)) from error
            revision = revision or int(answer["header"]["revision"])
            kvs = answer.get("kvs", [])
            for kv in kvs:
                lease = int(kv.get("lease", "0"))
                items[self._name(kv)] = Item(_octets(kv.get("value", "")), int(kv["mod_revision"]), f"{lease:x}" if lease else None)
            if not answer.get("more"):
                return Snapshot(revision, items)
            start = _octets(kvs[-1]["key"]) + b"\0"

    async def commit(self, transaction: Transaction, conditions: Conditions = NO_CONDITIONS) -> int:
        compares = [*transaction.compares, *conditions.values, *(scope.first for scope in conditions.empty)]
        if max(len(transaction.writes), len(compares)) > limits.STORE_OPERATIONS:
            raise Exhausted("transaction", "writes", because=f"at most {limits.STORE_OPERATIONS} keys in one transaction")
        attempts: list[int] = []
        try:
            answer = await self._send(transaction, conditions, attempts)
        except _Refused as error:
            if "lease not found" not in str(error):
                raise Unavailable("etcd", str(error)) from error
            # The lease ran out while etcd could not be reached: the session begins anew.
            if transaction.session is not None:
                self._forget_lease(transaction.session)
            answer = await self._send(transaction, conditions, attempts)
        if answer.get("succeeded"):
            return int(answer["header"]["revision"])
        revision = await self._revision_if_done(transaction) if len(attempts) > 1 else None
        if revision is not None:
            return revision
        raise CompareFailed(compares[0])

    async def _send(self, transaction: Transaction, conditions: Conditions, attempts: list[int]) -> dict[str, Any]:
        lease = await self._lease_of(transaction.session) if transaction.session is not None else 0
        body = {
            "compare": [
                *(self._compare(key, revision) for key, revision in transaction.compares.items()),
                *(self._has_value(key, value) for key, value in conditions.values.items()),
                *(self._is_empty(scope) for scope in conditions.empty),
            ],
            "success": [self._write(key, value, 0 if key in transaction.lasting else lease) for key, value in transaction.writes.items()],
        }
        return await self._call("kv/txn", body, attempts)

    def _forget_lease(self, session: str) -> None:
        task = self._leases.pop(_lease_id(session), None)
        if task is not None:
            task.cancel()

    def _compare(self, key: str, revision: int) -> dict[str, Any]:
        if revision == 0:
            return {"target": "CREATE", "result": "EQUAL", "key": self._key(key), "create_revision": "0"}
        return {"target": "MOD", "result": "EQUAL", "key": self._key(key), "mod_revision": str(revision)}

    def _has_value(self, key: str, value: bytes) -> dict[str, Any]:
        return {"target": "VALUE", "result": "EQUAL", "key": self._key(key), "value": _text(value)}

    def _is_empty(self, scope: KeyRange) -> dict[str, Any]:
        """Return a compare of every key of *scope* with one that was never made: it holds if there is none."""
        first, end = self._range(scope)
        return {"target": "CREATE", "result": "EQUAL", "key": _text(first), "range_end": _text(end), "create_revision": "0"}

    def _range(self, scope: KeyRange) -> tuple[bytes, bytes]:
        """Return the first key of *scope*, and the one behind its last."""
        prefix = self._settings.prefix.encode()
        return prefix + scope.first.encode(), _end_of_range(prefix) if scope.end is None else prefix + scope.end.encode()

    def _write(self, key: str, value: bytes | None, lease: int) -> dict[str, Any]:
        if value is None:
            return {"request_delete_range": {"key": self._key(key)}}
        return {"request_put": {"key": self._key(key), "value": _text(value), **({"lease": str(lease)} if lease else {})}}

    async def _revision_if_done(self, transaction: Transaction) -> int | None:
        """Return the revision of *transaction* if an attempt whose answer was lost has carried it out; None if none has."""
        revisions = set()
        for key, value in transaction.writes.items():
            kvs = (await self._call("kv/range", {"key": self._key(key)})).get("kvs", [])
            if (_octets(kvs[0].get("value", "")) if kvs else None) != value:
                return None
            revisions |= {int(kv["mod_revision"]) for kv in kvs}
        return revisions.pop() if len(revisions) == 1 else None

    async def watch(self, revision: int, scope: KeyRange = EVERYTHING) -> AsyncIterator[Change]:
        reached, is_cut = revision, False
        while True:
            try:
                async for line in self._stream(reached + 1, scope):
                    is_cut = False
                    result = line.get("result", {})
                    if result.get("canceled"):
                        if result.get("compact_revision"):
                            raise Compacted(reached)
                        break
                    for event in result.get("events", []):
                        kv = event["kv"]
                        value = None if event.get("type") == "DELETE" else _octets(kv.get("value", ""))
                        # Not that of the header, which may be ahead of what has been sent so far.
                        reached = max(reached, int(kv["mod_revision"]))
                        yield Change(self._name(kv), value, reached)
                    if not result.get("events") and not result.get("created"):
                        # Word of progress: everything up to there has been sent.
                        reached = max(reached, int(result.get("header", {}).get("revision", "0")))
            except (aiohttp.ClientError, TimeoutError, _Refused) as error:
                if not is_cut:
                    log.warning("watch was cut and is tried again revision=%d reason=%s", reached, _plain(error))
                is_cut = True
            self._next()
            await asyncio.sleep(limits.STORE_PAUSE)

    async def _stream(self, start: int, scope: KeyRange) -> AsyncIterator[dict[str, Any]]:
        """Yield the messages of a watch, one for each line. A line may be of any length, so chunks are joined here."""
        first, end = self._range(scope)
        request = {"key": _text(first), "range_end": _text(end), "start_revision": str(start), "progress_notify": True}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=limits.STORE_CALL, sock_read=limits.STORE_WATCH_SILENCE)
        body = json.dumps({"create_request": request})
        async with self._http.post(self._url("watch"), data=body, headers=await self._headers(), timeout=timeout) as response:
            held = b""
            async for chunk in response.content.iter_any():
                *lines, held = (held + chunk).split(b"\n")
                for line in lines:
                    yield read_answer(line, response.status)

    async def end_session(self, session: str) -> None:
        self._forget_lease(session)
        with contextlib.suppress(_Refused):
            await self._call("lease/revoke", {"ID": str(_lease_id(session))})

    async def keep_session(self, session: str) -> frozenset[str]:
        try:
            answer = await self._call("lease/timetolive", {"ID": str(await self._lease_of(session)), "keys": True})
        except _Refused as error:
            raise Unavailable("etcd", str(error)) from error
        if int(answer.get("TTL", "0")) < 0:
            # It ran out since it was last renewed; the next call begins it anew.
            self._forget_lease(session)
        prefix = self._settings.prefix
        names = [_octets(key).decode() for key in answer.get("keys", [])]
        return frozenset(name.removeprefix(prefix) for name in names if name.startswith(prefix))

    async def _lease_of(self, session: str) -> int:
        identity, ttl = _lease_id(session), self._ttl(session)
        if not self._is_kept(identity):
            try:
                await self._call("lease/grant", {"ID": str(identity), "TTL": str(ttl)})
            except _Refused as error:
                if "already exists" not in str(error):
                    raise
                # An earlier process left it, and it may be about to run out.
                await self._call("lease/keepalive", {"ID": str(identity)})
            if not self._is_kept(identity):
                self._leases[identity] = asyncio.get_running_loop().create_task(self._keep_alive(identity, ttl))
        return identity

    def _is_kept(self, identity: int) -> bool:
        task = self._leases.get(identity)
        return task is not None and not task.done()

    def _ttl(self, session: str) -> int:
        return self._settings.grace if session.startswith("hold/") else self._settings.ttl

    async def _keep_alive(self, identity: int, ttl: int) -> None:
        """Renew a lease until it is gone. This goes on while etcd is not reachable: the lease may not have run out yet."""
        while True:
            await asyncio.sleep(ttl / 3)
            try:
                answer = await self._call("lease/keepalive", {"ID": str(identity)})
            except (Unavailable, _Refused) as error:
                log.warning("lease was not renewed lease=%x reason=%s", identity, error)
                continue
            if not int(answer.get("result", {}).get("TTL", "0")):
                log.warning("lease has run out lease=%x", identity)
                return

    async def probe(self) -> None:
        try:
            await self._call("kv/range", {"key": _text(self._settings.prefix.encode()), "count_only": True})
        except _Refused as error:
            raise Unavailable("etcd", str(error)) from error

    async def close(self) -> None:
        for task in self._leases.values():
            task.cancel()
        await self._http.close()

    # --- calls --------------------------------------------------------------------------------------------------

    async def _call(self, path: str, body: Mapping[str, Any], attempts: list[int] | None = None) -> dict[str, Any]:
        """Return the answer of the first endpoint that gives one; Unavailable when none does in time."""
        end = asyncio.get_running_loop().time() + limits.STORE_DEADLINE
        failure: Exception | None = None
        while asyncio.get_running_loop().time() < end:
            for _ in self._settings.endpoints:
                if attempts is not None:
                    attempts.append(self._endpoint)
                try:
                    return await self._ask(path, body)
                except (aiohttp.ClientError, TimeoutError) as error:
                    failure = error
                    self._next()
                except _Refused as error:
                    if error.code == _UNAUTHENTICATED and self._token and _INVALID_TOKEN in str(error):
                        self._token = None
                        continue
                    if not _is_passing(error):
                        raise
                    failure = error
                    self._next()
            await asyncio.sleep(limits.STORE_PAUSE)
        hosts = ", ".join(self._settings.endpoints)
        reason = _plain(failure) if failure is not None else "nothing was asked in time"
        raise Unavailable("etcd", f"no answer from {hosts} within {limits.STORE_DEADLINE:g} s ({reason})") from failure

    async def _ask(self, path: str, body: Mapping[str, Any], *, signed: bool = True) -> dict[str, Any]:
        headers = await self._headers() if signed else {}
        async with self._http.post(self._url(path), data=json.dumps(body), headers=headers) as response:
            octets = await response.read()
        return read_answer(octets, response.status)

    async def _headers(self) -> dict[str, str]:
        if self._settings.user is None:
            return {}
        if self._token is None:
            credentials = {"name": self._settings.user, "password": self._settings.password}
            self._token = str((await self._ask("auth/authenticate", credentials, signed=False))["token"])
        return {"Authorization": self._token}

    def _url(self, path: str) -> str:
        return f"{self._settings.endpoints[self._endpoint]}/v3/{path}"

    def _next(self) -> None:
        self._endpoint = (self._endpoint + 1) % len(self._settings.endpoints)

    def _key(self, name: str) -> str:
        return _text(f"{self._settings.prefix}{name}".encode())

    def _name(self, kv: Mapping[str, Any]) -> str:
        return _octets(kv["key"]).decode().removeprefix(self._settings.prefix)


def _plain(error: Exception) -> str:
    """Return in a few words why a call failed; the chains of errors below it are no help to a person."""
    match error:
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            return f"TLS: {error.os_error.strerror or error.os_error}"
        case aiohttp.ClientConnectorDNSError():
            return f"there is no address for the name {error.host}"
        case aiohttp.ClientConnectorError():
            return os.strerror(error.os_error.errno).lower() if error.os_error.errno else str(error.os_error)
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError():
            return "the connection was closed"
        case TimeoutError():
            return "it was silent"
    return str(error) or type(error).__name__


def read_answer(octets: bytes, status: int) -> dict[str, Any]:
    """Return what etcd says; _Refused if that is an error, ClientPayloadError if it is none of etcd's own answers."""
    try:
        content = json.loads(octets)
    except (ValueError, RecursionError) as error:
        raise aiohttp.ClientPayloadError(f"HTTP {status}: {octets[:100]!r} is no JSON") from error
    if not isinstance(content, dict):
        raise aiohttp.ClientPayloadError(f"HTTP {status}: {octets[:100]!r} is no JSON object")
    if status != 200 or "error" in content:
        # A watch has its errors as objects, everything else as texts beside the code.
        told = content.get("error")
        raise _refused(told if isinstance(told, dict) else content)
    return content


def _refused(content: Mapping[str, Any]) -> _Refused:
    code = content.get("code", content.get("grpc_code"))
    return _Refused(code if isinstance(code, int) else _UNKNOWN, str(content.get("message") or content.get("error") or content))


def _is_passing(error: _Refused) -> bool:
    """Return whether another member, or the same one later, may do it: there is no leader, it changes, or a call timed out."""
    text = str(error)
    return any(part in text for part in ("no leader", "leader changed", "timed out", "request is too old", "server stopped", "unhealthy"))


def _lease_id(session: str) -> int:
    """Return the lease of a session: 63 bits of a digest of its name, never 0, which would let etcd choose."""
    return int.from_bytes(hashlib.sha256(session.encode()).digest()[:8], "big") >> 1 | 1


def _end_of_range(prefix: bytes) -> bytes:
    """Return the end of the range of all keys that begin with *prefix*, which does not end in 0xFF."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


def _text(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def _octets(text: str) -> bytes:
    return base64.b64decode(text)


def _tls(settings: EtcdSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ca)
        if settings.certificate is not None:
            context.load_cert_chain(settings.certificate, settings.key)
    except OSError as error:
        raise Unavailable("etcd", f"its TLS files can't be read: {error}") from error
    return context


async def open_etcd(settings: EtcdSettings) -> EtcdStore:
    """Return a store on etcd, once that has answered; Unavailable if it does not, or refuses the user."""
    is_tls = any(url.startswith("https:") for url in settings.endpoints)
    # Each watch has a connection of its own, so there are as many as networks here.
    connector = aiohttp.TCPConnector(limit=0, ssl=await asyncio.to_thread(_tls, settings) if is_tls else True)
    session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=limits.STORE_CALL))
    store = EtcdStore(settings, session)
    try:
        await store.probe()
    except BaseException:
        await session.close()
        raise
    return store
