"""Clients that people use, each asking sites of the lab: what to type, what each needs, and the files that the sites must have.

A client's script is given to a shell in the sandbox, in a directory of its own, with `$NAME` (a host), `$COUNT` and `$CA`. It ends with 0 if
everything was there, and prints `connections N`.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.support import sites


@dataclass(frozen=True, slots=True)
class Client:
    """*needs*: the programs; *package*: of Debian, which has them. *without*: kinds of sites that it does not cope with by itself."""

    name: str
    needs: tuple[str, ...]
    package: str
    script: str
    without: tuple[str, ...] = ("silent6",)

    @property
    def kinds(self) -> list[str]:
        return [kind for kind in sites.KINDS if kind not in self.without]


_JAVA = r"""
cat > Client.java <<'END'
import java.net.*; import java.net.http.*;
public class Client {
  public static void main(String[] arguments) throws Exception {
    int done = 0;
    for (int at = 0; at < Integer.parseInt(arguments[1]); at++) {
      String host = "j" + at % 5 + "." + arguments[0];
      HttpURLConnection connection = (HttpURLConnection) new URL("https://" + host + "/").openConnection();
      connection.setRequestProperty("Connection", "close");
      String body = new String(connection.getInputStream().readAllBytes()).trim();
      if (!body.equals(host)) throw new Exception(body);
      done++;
    }
    System.out.println("connections " + done);
  }
}
END
keytool -importcert -noprompt -alias lab -file "$CA" -keystore trust.p12 -storetype PKCS12 -storepass changeit > /dev/null 2>&1
java -Dhttp.keepAlive=false -Djavax.net.ssl.trustStore=trust.p12 -Djavax.net.ssl.trustStorePassword=changeit Client.java "$NAME" "$COUNT"
"""
_GO = r"""
cat > client.go <<'END'
package main
import ("fmt"; "io"; "net/http"; "os"; "strconv")
func main() {
  count, _ := strconv.Atoi(os.Args[2])
  http.DefaultTransport.(*http.Transport).DisableKeepAlives = true
  for at := 0; at < count; at++ {
    host := fmt.Sprintf("g%d.%s", at % 5, os.Args[1])
    answer, err := http.Get("https://" + host + "/")
    if err != nil { fmt.Println(err); os.Exit(1) }
    body, _ := io.ReadAll(answer.Body)
    if string(body) != host + "\n" { fmt.Println(string(body)); os.Exit(1) }
  }
  fmt.Println("connections", count)
}
END
export HOME=$PWD GOCACHE=${GO_CACHE:-$PWD/cache} GOFLAGS=-mod=mod GO111MODULE=off
go build -o client client.go
SSL_CERT_FILE=$CA ./client "$NAME" "$COUNT"
"""
_NODE = r"""
cat > client.js <<'END'
const https = require('https'), [name, count] = process.argv.slice(2);
let done = 0;
function next(at) {
  if (at == count) { console.log('connections ' + done); return; }
  const host = `n${at % 5}.${name}`;
  https.get({host, agent: false}, answer => {
    let body = '';
    answer.on('data', part => body += part);
    answer.on('end', () => { if (body != host + '\n') { console.log(body); process.exit(1); } done++; next(at + 1); });
  }).on('error', error => { console.log(error); process.exit(1); });
}
next(0);
END
NODE_EXTRA_CA_CERTS=$CA node client.js "$NAME" "$COUNT"
"""
_CURL = r"""
: > urls
at=0
while [ $at -lt $COUNT ]; do
  printf 'url = "https://c%d.%s/"\noutput = "out.%d"\n' $((at % 7)) "$NAME" $at >> urls
  at=$((at + 1))
done
curl -sS --fail-early -f --cacert "$CA" --no-keepalive -H 'Connection: close' --max-time 60 -K urls
cat out.* | grep -c "$NAME" | sed 's/^/connections /'
"""
_GIT = r"""
done=0
while [ $done -lt $COUNT ]; do
  GIT_SSL_CAINFO=$CA HOME=$PWD git clone -q "https://git$((done % 3)).$NAME/repository.git" "copy$done"
  test -f "copy$done/README"
  done=$((done + 1))
done
echo "connections $done"
"""
_PIP = r"""
done=0
while [ $done -lt $COUNT ]; do
  "$PYTHON" -m pip download -q --disable-pip-version-check --isolated --no-cache-dir --no-deps --retries 0 --cert "$CA" --index-url "https://pypi$done.$NAME/simple/" -d "got$done" demo
  test -f "got$done/demo-1-py3-none-any.whl"
  done=$((done + 1))
done
echo "connections $done"
"""
_NPM = r"""
done=0
while [ $done -lt $COUNT ]; do
  mkdir "got$done"
  (cd "got$done"; npm pack --silent --cafile "$CA" --cache "$PWD/cache" --registry "https://npm$done.$NAME/npm/" --no-audit --no-fund --fetch-retries 0 demo)
  test -f "got$done/demo-1.0.0.tgz"
  done=$((done + 1))
done
echo "connections $done"
"""
_APT = r"""
mkdir -p lists/partial cache/archives/partial state
: > state/status
done=0
while [ $done -lt $COUNT ]; do
  echo "deb [trusted=yes] https://deb$done.$NAME/debian ./" > sources.list
  echo "deb [trusted=yes] http://plain$done.$NAME/debian ./" >> sources.list
  apt-get -qq -o Dir::Etc::SourceList="$PWD/sources.list" -o Dir::Etc::SourceParts=- -o Dir::State="$PWD/state" -o Dir::State::Lists="$PWD/lists" -o Dir::State::status="$PWD/state/status" \
    -o Dir::Cache="$PWD/cache" -o Acquire::https::CAInfo="$CA" -o Acquire::Retries=0 -o Acquire::Languages=none -o APT::Sandbox::User=root -o APT::Update::Error-Mode=any update
  ls lists | grep -q Packages
  done=$((done + 1))
done
echo "connections $((2 * done))"
"""

CLIENTS = (
    Client("curl", ("curl",), "curl", _CURL, without=()),
    Client("git", ("git",), "git", _GIT),
    Client("pip", (), "", _PIP),
    Client("apt", ("apt-get",), "apt", _APT),
    Client("node", ("node",), "nodejs", _NODE),
    Client("npm", ("npm",), "npm", _NPM),
    Client("Java", ("javac", "java", "keytool"), "default-jdk-headless", _JAVA, without=("silent6", "dead4")),
    Client("Go", ("go",), "golang-go", _GO, without=()),
)

FILES = r"""
set -e
mkdir -p simple/demo npm debian wheel work
printf '<a href="/simple/demo/demo-1-py3-none-any.whl">demo-1-py3-none-any.whl</a>\n' > simple/demo/index.html
cd wheel
mkdir -p demo demo-1.dist-info
: > demo/__init__.py
printf 'Metadata-Version: 2.1\nName: demo\nVersion: 1\n' > demo-1.dist-info/METADATA
printf 'Wheel-Version: 1.0\nGenerator: lab\nRoot-Is-Purelib: true\nTag: py3-none-any\n' > demo-1.dist-info/WHEEL
printf 'demo/__init__.py,,\ndemo-1.dist-info/METADATA,,\ndemo-1.dist-info/WHEEL,,\ndemo-1.dist-info/RECORD,,\n' > demo-1.dist-info/RECORD
"$PYTHON" -m zipfile -c ../simple/demo/demo-1-py3-none-any.whl demo demo-1.dist-info
cd ..
mkdir -p package
printf '{"name": "demo", "version": "1.0.0"}' > package/package.json
tar czf npm/demo-1.0.0.tgz package
sum=$(openssl dgst -sha512 -binary npm/demo-1.0.0.tgz | openssl base64 -A)
printf '{"name": "demo", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": {"name": "demo", "version": "1.0.0", "dist": {"tarball": "https://HOST/npm/demo-1.0.0.tgz", "integrity": "sha512-%s"}}}}' "$sum" > npm/demo
printf 'Package: demo\nVersion: 1\nArchitecture: all\nMaintainer: lab\nFilename: ./demo.deb\nSize: 1\nSHA256: %064d\nDescription: demo\n' 0 > debian/Packages
(cd debian; printf 'Date: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n %s %d Packages\n' "$(sha256sum Packages | cut -d' ' -f1)" "$(wc -c < Packages)" > Release)
if command -v git > /dev/null; then
  export HOME=$PWD GIT_CONFIG_NOSYSTEM=1
  git init -q -b main work
  cd work
  echo demo > README
  git add README
  git -c user.name=lab -c user.email=lab@example.org commit -qm demo
  cd ..
  git clone -q --bare work repository.git
  git -C repository.git update-server-info
fi
"""
"""Makes the files of the sites in the current directory."""
