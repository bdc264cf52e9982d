"""A Docker network and IPAM plugin for tests: veth pairs on a bridge of its own, addresses from 10.66.0.0/16.

Arguments: socket path, directory. Calls are appended to DIRECTORY/calls, a JSON line each. DIRECTORY/answers may hold
method → answer instead of the usual one: an object is sent as it is, a number is an HTTP status, "hang" never answers.
"""

import json
import socketserver
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

SOCKET, DIRECTORY = sys.argv[1], Path(sys.argv[2])
IMPLEMENTS = sys.argv[3].split(",") if len(sys.argv) > 3 else ["NetworkDriver", "IpamDriver"]
POOL = "10.66.0.0/16"
STATE: dict = {"next": 1}


def ip(*words):
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=False)


def create_network(body):
    bridge = f"plug{body['NetworkID'][:8]}"
    ip("link", "add", bridge, "type", "bridge")
    ip("link", "set", bridge, "up")
    for data in body["IPv4Data"] or ():
        if data["Gateway"]:
            ip("addr", "add", data["Gateway"], "dev", bridge)
            STATE[body["NetworkID"]] = data["Gateway"].partition("/")[0]
    return {}


def delete_network(body):
    ip("link", "del", f"plug{body['NetworkID'][:8]}")
    return {}


def join(body):
    name = body["EndpointID"][:7]
    ip("link", "add", f"vp{name}", "type", "veth", "peer", "name", f"vc{name}")
    ip("link", "set", f"vp{name}", "master", f"plug{body['NetworkID'][:8]}", "up")
    return {
        "InterfaceName": {"SrcName": f"vc{name}", "DstPrefix": "plug"},
        "Gateway": STATE.get(body["NetworkID"], ""),
        "StaticRoutes": [{"Destination": "10.67.0.0/16", "RouteType": 1}],
    }


def delete_endpoint(body):
    ip("link", "del", f"vp{body['EndpointID'][:7]}")
    return {}


def request_address(body):
    if body["Address"]:
        return {"Address": f"{body['Address']}/16"}
    STATE["next"] += 1
    if (body["Options"] or {}).get("RequestAddressType"):
        return {"Address": "10.66.0.1/16"}
    return {"Address": f"10.66.{STATE['next'] >> 8}.{STATE['next'] & 255}/16"}


ANSWERS = {
    "Plugin.Activate": lambda _: {"Implements": IMPLEMENTS},
    "NetworkDriver.GetCapabilities": lambda _: {"Scope": "local", "GwAllocChecker": True},
    "NetworkDriver.GwAllocCheck": lambda _: {"SkipIPv4": False},
    "NetworkDriver.CreateNetwork": create_network,
    "NetworkDriver.DeleteNetwork": delete_network,
    "NetworkDriver.CreateEndpoint": lambda body: {
        "Interface": {"MacAddress": "" if body["Interface"]["MacAddress"] else "02:66:00:00:00:07"}
    },
    "NetworkDriver.EndpointOperInfo": lambda body: {"Value": {"id": body["EndpointID"][:7]}},
    "NetworkDriver.DeleteEndpoint": delete_endpoint,
    "NetworkDriver.Join": join,
    "NetworkDriver.Leave": lambda _: {},
    "NetworkDriver.ProgramExternalConnectivity": lambda _: {},
    "NetworkDriver.RevokeExternalConnectivity": lambda _: {},
    "IpamDriver.GetCapabilities": lambda _: {"RequiresMACAddress": True, "RequiresRequestReplay": True},
    "IpamDriver.GetDefaultAddressSpaces": lambda _: {"LocalDefaultAddressSpace": "here", "GlobalDefaultAddressSpace": "everywhere"},
    "IpamDriver.RequestPool": lambda body: {"PoolID": f"pool-{body['Pool'] or POOL}", "Pool": body["Pool"] or POOL, "Data": {}},
    "IpamDriver.ReleasePool": lambda _: {},
    "IpamDriver.RequestAddress": request_address,
    "IpamDriver.ReleaseAddress": lambda _: {},
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        method = self.path[1:]
        octets = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.loads(octets) if octets else None
        with (DIRECTORY / "calls").open("a") as file:
            file.write(json.dumps([method, body]) + "\n")
        try:
            special = json.loads((DIRECTORY / "answers").read_text()).get(method)
        except OSError:
            special = None
        if special == "hang":
            time.sleep(1000)
        status = special if isinstance(special, int) else 200 if method in ANSWERS else 404
        content = special if isinstance(special, dict) else ANSWERS[method](body) if status == 200 and special is None else {}
        text = special.encode() if isinstance(special, str) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def address_string(self):
        return "berth"

    def log_message(self, *_):
        return


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


Path(SOCKET).parent.mkdir(parents=True, exist_ok=True)
Path(SOCKET).unlink(missing_ok=True)
server = Server(SOCKET, Handler)
print("listening", flush=True)
server.serve_forever()
