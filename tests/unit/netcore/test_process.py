"""What the kernel tells of processes."""

import subprocess
import sys

from netcore.kernel import process

RENAMES_ITSELF = """
import sys
with open("/proc/self/comm", "wb", buffering=0) as file:
    file.write(b"a \\xff name longer than that")
print("done", flush=True)
sys.stdin.read()
"""


def test_program_is_known_by_the_name_that_it_gives_itself():
    with subprocess.Popen([sys.executable, "-c", RENAMES_ITSELF], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        # It may be no text, and the kernel cuts it.
        assert process.program(child.pid) == "a \ufffd name longer"
        child.stdin.close()
    assert process.program(child.pid) == ""
