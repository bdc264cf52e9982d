"""Where a sandbox is found by its name: RUN/by-name/NAME, and /etc/netns/berth-NAME for `ip netns exec`."""

import signal

import pytest

PATHS = ("resolv.conf", "hosts", "hostname", "netns")


@pytest.fixture(autouse=True)
def front(lab):
    """A network `front` that a sandbox `peer` is on. Nothing else is left afterwards."""
    lab.berth("network", "create", "--subnet", "10.74.0.0/24", "front")
    lab.berth("sandbox", "create", "peer", "--network", "front")
    yield
    names = lab.berth("ps", "-aq").stdout.split()
    lab.berth("rm", *names)
    lab.berth("network", "rm", "front")
    assert found(lab) == ""


def found(lab):
    """Return everything that is found by a name."""
    return lab.shell("ls -d /run/berth/by-name/* /etc/netns/* 2>/dev/null", check=False)


def in_netns(lab, name, *command, **more):
    return lab.run("ip", "netns", "exec", f"berth-{name}", *command, **more)


def assert_is_found(lab, name, address):
    for path in PATHS:
        lab.run("test", "-e", f"/run/berth/by-name/{name}/{path}")
    assert lab.shell(f"stat -Lc %i /run/berth/by-name/{name}/netns") == lab.shell(f"stat -Lc %i {lab.inspect(name)['netns']}")
    done = in_netns(lab, name, "getent", "hosts", "peer.front")
    assert done.stdout.split()[0] == lab.inspect("peer")["addresses"][0]
    assert done.stderr == ""
    # Its own name comes from its hosts file, which is laid over /etc too.
    assert in_netns(lab, name, "getent", "hosts", name if name == "peer" else lab.inspect(name)["hostname"]).stdout.split()[0] == address
    assert in_netns(lab, name, "cat", "/etc/hostname").stdout.strip() == lab.inspect(name)["hostname"]


def test_a_sandbox_is_found_by_its_name_until_it_is_removed(lab):
    lab.berth("run", "-d", "--name", "web", "--network", "front", "--", "sleep", "300")
    web = lab.inspect("web")
    assert web["by_name"] == "/run/berth/by-name/web"
    assert_is_found(lab, "web", web["addresses"][0])
    lab.berth("rm", "web")
    assert "web" not in found(lab)


def test_a_rename_is_followed(lab):
    lab.berth("run", "-d", "--name", "web", "--network", "front", "--restart", "always", "--", "sleep", "300")
    lab.berth("rename", "web", "shop")
    shop = lab.inspect("shop")
    assert (shop["netns"], shop["by_name"]) == ("/run/netns/berth-shop", "/run/berth/by-name/shop")
    assert_is_found(lab, "shop", shop["addresses"][0])
    assert "web" not in found(lab)
    assert "berth-web" not in lab.out("ls", "/run/netns")
    # Who held the old path goes on: the process that starts the command again, and further commands.
    before = shop["leader"]["pid"]
    lab.run("kill", "-9", str(before))
    lab.wait_for(lambda: (lab.inspect("shop")["leader"] or {"pid": before})["pid"] != before)
    assert lab.in_sandbox("shop", "getent", "hosts", "peer.front") != ""
    # The old name can be another one's at once.
    lab.berth("sandbox", "create", "web", "--network", "front")
    assert_is_found(lab, "web", lab.inspect("web")["addresses"][0])
    assert_is_found(lab, "shop", shop["addresses"][0])


def test_a_name_whose_path_is_taken_by_others_is_refused(lab):
    lab.run("ip", "netns", "add", "berth-theirs")
    refused = lab.berth("rename", "peer", "theirs", check=False)
    assert refused.returncode == 1
    assert "/run/netns/berth-theirs exists already and is not ours" in refused.stderr
    lab.run("ip", "netns", "del", "berth-theirs")
    assert_is_found(lab, "peer", lab.inspect("peer")["addresses"][0])


def test_who_shares_a_stack_is_found_there(lab):
    lab.berth("run", "-d", "--name", "side", "--network", "container:peer", "--", "sleep", "300")
    assert lab.shell("readlink -f /run/berth/by-name/side") == lab.shell("readlink -f /run/berth/by-name/peer")
    assert_is_found(lab, "side", lab.inspect("peer")["addresses"][0])


def test_what_a_killed_daemon_left_is_put_right(lab):
    lab.berth("run", "-d", "--name", "gone", "--network", "front", "--rm", "--", "sleep", "300")
    lab.berth("sandbox", "create", "kept", "--network", "front")
    pid = lab.inspect("gone")["pid"]
    lab.stop_daemon(signal.SIGKILL)
    lab.run("kill", "-9", str(pid))
    # Something of a user's beside what is berth's, and something that was lost.
    lab.shell("mkdir -p /etc/netns/theirs; echo x > /etc/netns/theirs/resolv.conf; echo y > /etc/netns/berth-gone/services")
    lab.shell("rm -r /run/berth/by-name/kept /etc/netns/berth-kept")
    lab.start_daemon()
    assert_is_found(lab, "kept", lab.inspect("kept")["addresses"][0])
    assert "gone" not in lab.out("ls", "/run/berth/by-name")
    assert lab.shell("cat /etc/netns/theirs/resolv.conf; ls /etc/netns/berth-gone") == "x\nservices"
    lab.shell("rm -r /etc/netns/theirs /etc/netns/berth-gone")


def test_files_of_the_user_are_left_alone(lab):
    lab.shell("mkdir -p /etc/netns/berth-web; echo 'nameserver 10.9.9.9' > /etc/netns/berth-web/resolv.conf")
    lab.berth("sandbox", "create", "web", "--network", "front")
    assert in_netns(lab, "web", "cat", "/etc/resolv.conf").stdout == "nameserver 10.9.9.9\n"
    assert lab.shell("ls /etc/netns/berth-web").split() == ["hostname", "hosts", "nsswitch.conf", "resolv.conf"]
    lab.berth("rm", "web")
    assert lab.shell("ls /etc/netns/berth-web") == "resolv.conf"
    lab.shell("rm -r /etc/netns/berth-web")
