"""What somebody who tries berth for the first time does wrong, or expects."""

from __future__ import annotations


def test_working_directory_that_does_not_exist_is_an_error(lab):
    lab.start_daemon()
    lab.berth("run", "-d", "--name", "web", "--", "sleep", "300")
    lab.shell("touch /run/afile; mkdir -m 700 /run/closed")
    for directory, reason in (("nodir", "No such file or directory"), ("/run/afile", "Not a directory")):
        for command in (("run", "-w", directory, "--", "pwd"), ("exec", "-w", directory, "web", "pwd")):
            refused = lab.berth(*command, check=False)
            assert (refused.returncode, refused.stdout) == (126, ""), refused
            assert reason in refused.stderr
            assert directory in refused.stderr
        lab.write("/run/compose.yaml", f"services:\n  a:\n    command: pwd\n    working_dir: {directory}\n")
        refused = lab.berth("up", "-f", "/run/compose.yaml", check=False)
        assert refused.returncode == 126
        assert "service a: working directory /run/" in refused.stderr
    # A relative one is below the caller's directory; the caller's own need not exist in the sandbox.
    berth = "python3 -m resolver"
    assert (
        lab.shell(f"mkdir -p /run/d/sub; cd /run/d; {berth} run -w sub -- pwd; {berth} exec -w sub web pwd").split() == ["/run/d/sub"] * 2
    )
    assert lab.shell(f"mkdir /run/gone; cd /run/gone; rmdir /run/gone; {berth} run -- pwd") == "/"
    assert len(lab.berth("ps").stdout.splitlines()) == 2
