"""The client for programs in a lab: sandboxes of a daemon, and of an ordinary user who has none yet."""

import sys
from pathlib import Path

import pytest

from tests.support.lab import OUTSIDE_ADDRESS
from tests.support.user_lab import UserLab, why_no_user

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "agent.py"
CODE = f"""
import socket, urllib.request
print(urllib.request.urlopen("http://www.example.org/").status)
try: socket.create_connection(("{OUTSIDE_ADDRESS}", 7000))
except ConnectionRefusedError: print("refused")
"""
STORY = f"""
import asyncio, sys
from resolver.client import Berth

async def main():
    async with Berth.connect() as berth:
        async with berth.sandbox(name="job", egress=["none"], timeout=60, tmpfs=["/mnt"], environment={{"A": "b"}}, grace=0.5) as box:
            await box.write("/mnt/in/x.py", "import os; print(os.environ['A'], os.getpid() < 100)")
            print((await box.run(["python3", "x.py"], workdir="/mnt/in")).text.strip())
            print((await box.read("/mnt/in/x.py"))[:9])
            late = await box.run(["sh", "-c", "trap '' TERM; while :; do sleep 0.05; done; : marker"], timeout=1.5)
            print(late.timed_out, late.exit_code)
            left = (await box.run(["sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\\\0' ' ' | grep -c mark[e]r || true"])).text
            print("left", left.strip())
            code = "import socket; socket.create_connection(('{OUTSIDE_ADDRESS}', 7000))"
            refused = await box.run(["python3", "-c", code])
            print(refused.exit_code, [(one.kind, one.address, one.port) for one in refused.denied])
            print((await box.show()).name, [one.name for one in await berth.sandboxes.list_sandboxes()])
        print([one.name for one in await berth.sandboxes.list_sandboxes()])

asyncio.run(main())
"""
TOLD = f"""b True
b'import os'
True 137
left 0
1 [('connection', '{OUTSIDE_ADDRESS}', 7000)]
job ['job']
[]
"""


def test_story_of_a_program(lab):
    assert lab.run(sys.executable, "-c", STORY).stdout == TOLD


def test_what_is_killed_leaves_no_sandbox(lab):
    script = "import asyncio\nfrom resolver.client import Berth\nasync def main():\n  async with Berth.connect() as berth, berth.sandbox(name='held') as box:\n    print('there', flush=True)\n    await box.run(['sleep', '1000'])\nasyncio.run(main())"
    process = lab.start(sys.executable, "-c", script)
    lab.wait_for(lambda: "held" in lab.berth("ps").stdout and lab.pids("sleep 1000"))
    process.kill()
    process.wait()
    lab.wait_for(lambda: "held" not in lab.berth("ps", "-a").stdout)


@pytest.fixture(scope="module")
def user_lab():
    why = why_no_user()
    if why:
        pytest.skip(why)
    with UserLab() as made:
        made.serve_outside()
        yield made


@pytest.mark.slow
def test_story_of_an_ordinary_user_who_has_no_daemon_yet(user_lab):
    assert user_lab.as_user(sys.executable, "-c", STORY).stdout == TOLD


def test_example_of_an_agent_builder(user_lab):
    user_lab.as_user("sh", "-c", f"cat > x.py <<'E'\n{CODE}\nE")
    said = user_lab.as_user(sys.executable, str(EXAMPLE), "x.py", check=False)
    assert said.stdout.splitlines()[:2] == ["200", "refused"], said.stderr
    assert f"denied: {OUTSIDE_ADDRESS}: " in said.stdout
    assert said.stdout.endswith("exit code 0\n")
