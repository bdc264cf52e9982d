"""What libraries send names the server that they were asked for, and what they read in damaged requests is no other one."""

import io
import random
import re
import shutil
import socket
import ssl
import string
import subprocess
import sys
from http.client import HTTPException, parse_headers
from unittest.mock import Mock

import pytest
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser

from netcore.look.findings import NEED_MORE, Name, NeedMore, Protocol
from netcore.look.first_data import FirstDataReader
from tests.support import client_hellos


def found(octets, size=None):
    reader, finding = FirstDataReader(), NEED_MORE
    for at in range(0, len(octets), size or max(1, len(octets))):
        finding = reader.feed(octets[at : at + (size or len(octets))])
        if not isinstance(finding, NeedMore):
            break
    return finding


def random_name(chance):
    def label():
        inner = "".join(chance.choice(string.ascii_letters + string.digits + "-") for _ in range(chance.choice((0, 1, 5, 20, 60))))
        return chance.choice(string.ascii_letters) + inner + chance.choice(string.ascii_letters)

    labels = [label() for _ in range(chance.randrange(1, 5))]
    if chance.random() < 0.2:
        labels[0] = "bücher"
    return ".".join(labels)[:250].strip(".-")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    directory = tmp_path_factory.mktemp("certificate")
    command = (
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/CN=lab",
        "-days",
        "30",
    )
    subprocess.run((*command, "-keyout", directory / "key.pem", "-out", directory / "cert.pem"), check=True, capture_output=True)
    return directory


def client_context(chance):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    version = chance.choice((None, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3))
    if version:
        context.minimum_version = context.maximum_version = version
    if chance.random() < 0.7:
        context.set_alpn_protocols([f"p{number}" * chance.randrange(1, 20) for number in range(chance.randrange(1, 60))])
    if chance.random() < 0.5:
        context.options |= ssl.OP_NO_TICKET
    if chance.random() < 0.3:
        context.set_ciphers(chance.choice(("ALL", "ECDHE+AESGCM", "HIGH:!aNULL")))
    return context


def handshake(context, server_context, name, session=None):
    """Return (the first octets of the client, a session to go on with, the name that the server read)."""
    seen = []
    server_context.sni_callback = lambda connection, asked, _: seen.append(asked)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(to_client, to_server, server_hostname=name, session=session)
    from_client, from_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context.wrap_bio(from_client, from_server, server_side=True)
    first = b""
    for _ in range(6):
        for side in (client, server):
            try:
                side.do_handshake()
                if side is client:
                    client.read(1)
            except ssl.SSLWantReadError:
                pass
            octets = to_server.read()
            first = first or octets
            from_client.write(octets)
            to_client.write(from_server.read())
    return first, client.session, seen[0] if seen else None


def test_hellos_of_the_tls_library_name_their_server(certificate):
    """With and without tickets of an earlier session, for any name, protocols, versions and ciphers."""
    chance = random.Random("hellos")
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    resumed = 0
    for _ in range(150):
        name, context = random_name(chance), client_context(chance)
        expected = Name(name.encode("idna").decode().lower(), Protocol.TLS)
        octets, session, seen = handshake(context, server_context, name)
        assert found(octets, chance.choice((None, 1, 50))) == expected
        assert seen.lower() == name.lower() or seen.lower() == expected.name
        if session is not None and session.has_ticket:
            octets, _, _ = handshake(context, server_context, name, session)
            assert found(octets) == expected
            resumed += 1
    assert resumed > 20


_OPTIONS = (
    "-tls1_2", "-tls1_3", "-alpn h2,http/1.1 -status", "-ct -groups X25519:P-256:P-521", "-nextprotoneg h2 -tls1_2", "-no_ticket -no_ems -no_etm",
    "-cipher ALL:@SECLEVEL=0 -legacy_server_connect", "-ciphersuites TLS_CHACHA20_POLY1305_SHA256", "-use_srtp SRTP_AES128_CM_SHA1_80 -comp",
    "-max_send_frag 512 -split_send_frag 512 -maxfraglen 512", "-psk 0102 -psk_identity me", "-tls1_3 -groups P-521 -status -alpn a,b,c -no_middlebox",
)  # fmt: skip


def test_hellos_of_openssl_name_their_server():
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    name, taken = "openssl.packages.example", 0
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        for options in _OPTIONS:
            command = ("openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", name, *options.split())
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            listener.settimeout(0.1)
            connected = None
            # It ends without a connection if it does not know the option.
            while connected is None and process.poll() is None:
                try:
                    connected, _ = listener.accept()
                except TimeoutError:
                    continue
            if connected is not None:
                with connected:
                    connected.settimeout(30)
                    octets = b""
                    while isinstance(finding := found(octets), NeedMore) and (more := connected.recv(1 << 16)):
                        octets += more
                taken += 1
                assert finding == Name(name, Protocol.TLS), (options, octets)
            process.communicate()
    assert taken > 8


# --- HTTP -----------------------------------------------------------------------------------------------------------

_SEEDS = (
    b"GET / HTTP/1.1\r\nHost: packages.example\r\nAccept: */*\r\n\r\n", b"GET / HTTP/1.1\r\nAccept: a\r\nHost:packages.example:80\r\nX: y\r\n\r\n",
    b"POST /a?b HTTP/1.1\r\nHOST: packages.example\r\nContent-Length: 3\r\n\r\nabc", b"GET http://packages.example/ HTTP/1.1\r\nHost: packages.example\r\n\r\n",
    b"GET / HTTP/1.0\r\nHost: a.example\r\nHost: b.example\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a.example\r\n b.example\r\n\r\n",
    b"GET / HTTP/1.1\r\nX: y\r\n Host: b.example\r\nHost: a.example\r\n\r\n", b"OPTIONS * HTTP/1.1\nHost: a.example\n\n",
)  # fmt: skip
_WORDS = (
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b":",
    b"Host: evil.example",
    b"Host : evil.example",
    b"http://evil.example/",
    b"\0",
    b"@",
    b"#",
    b",",
    b"\x0b",
    b"\xa0",
    b"%2e",
    b"HTTP/1.1",
)


def hosts_of(library, octets):
    """Return the hosts that *library* reads, [] if it refuses the request."""
    try:
        if library == "http.client":
            line, _, rest = octets.partition(b"\n")
            fields = parse_headers(io.BytesIO(rest)).get_all("host") or []
            target = line.split()[1].decode("latin-1") if len(line.split()) > 1 else ""
        else:
            parser = HttpRequestParser(Mock(), Mock(), 1 << 16)
            messages, _, _ = parser.feed_data(octets)
            if not messages:
                return []
            fields, target = messages[0][0].headers.getall("host", []), messages[0][0].path
    except (HTTPException, HttpProcessingError, ValueError, UnicodeError):
        return []
    if target.lower().startswith("http://"):
        fields = [*fields, target[7:].split("/")[0].split("?")[0]]
    return [re.sub(r":\d*$", "", field.strip().lower()).rstrip(".") for field in fields]


@pytest.mark.parametrize("library", ["aiohttp", "http.client"])
def test_libraries_read_the_same_host_in_damaged_requests(library):
    """Wherever a name is found, the library reads that one, that one alone, or refuses the request."""
    chance = random.Random(f"requests {library}")
    agreed = 0
    for _ in range(3000):
        octets = bytearray(chance.choice(_SEEDS))
        for _ in range(chance.choice((0, 1, 1, 2, 3))):
            at = chance.randrange(len(octets))
            match chance.randrange(4):
                case 0:
                    octets[at] = chance.randrange(256)
                case 1 | 2:
                    octets[at:at] = chance.choice(_WORDS)
                case 3:
                    del octets[at : at + chance.randrange(1, 5)]
        finding = found(bytes(octets), chance.choice((None, 1, 30)))
        if isinstance(finding, Name):
            assert finding.protocol is Protocol.HTTP
            read = set(hosts_of(library, bytes(octets)))
            assert read <= {finding.name}, bytes(octets)
            agreed += bool(read)
    assert agreed > 300


def test_this_interpreter_has_a_library_to_compare_with():
    assert ssl.HAS_SNI, sys.version
    assert client_hellos.seen_by_library(client_hellos.hello(b"packages.example")) == "packages.example"
