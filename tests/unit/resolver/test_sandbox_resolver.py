"""The look at the redirect inside a sandbox: it is listed again only when the sandbox's ruleset has changed."""

from types import SimpleNamespace

import pytest

from netcore.model import Sandbox
from resolver.daemon import listeners
from resolver.daemon.sandbox_resolver import SandboxResolver

WHOLE = frozenset({("ip rule", 1, (b"output",))})
BROKEN = [("redirect", "redirect of port 53 at 127.0.0.11")]


class Kernel:
    """*generation*, *rules*: what the sandbox has; *listed*: how often the rules were listed."""

    def __init__(self):
        self.generation, self.rules, self.listed = 7, WHOLE, 0

    def redirect_rules(self, path, known=None):
        if known == self.generation:
            return known, None
        self.listed += 1
        return self.generation, self.rules

    def redirect_again(self, path, pair):
        self.generation, self.rules = self.generation + 1, WHOLE
        return WHOLE


@pytest.fixture
def kernel(monkeypatch):
    made = Kernel()
    monkeypatch.setattr(listeners, "redirect_rules", made.redirect_rules)
    monkeypatch.setattr(listeners, "redirect_again", made.redirect_again)
    monkeypatch.setattr(listeners, "is_complete", lambda rules: rules == WHOLE)
    monkeypatch.setattr(listeners, "is_serving", lambda pair: True)
    return made


async def directly(body):
    return body()


async def test_rules_are_listed_once_for_each_generation(kernel):
    udp = SimpleNamespace(getsockname=lambda: ("127.0.0.11", 40_000))
    sandbox = Sandbox(id="s", name="s", hostname="s", netns_path="/x", boot_id="")
    resolver = SandboxResolver(sandbox=sandbox, client=None, pair=SimpleNamespace(udp=udp))
    for _ in range(3):
        assert await resolver.find_broken(directly) == []
    assert kernel.listed == 1
    # Somebody adds rules of his own.
    kernel.generation += 1
    for _ in range(3):
        assert await resolver.find_broken(directly) == []
    assert kernel.listed == 2
    kernel.generation, kernel.rules = kernel.generation + 1, frozenset()
    for _ in range(3):
        assert await resolver.find_broken(directly) == BROKEN
    assert kernel.listed == 5
    await resolver.restore_redirect(directly)
    for _ in range(3):
        assert await resolver.find_broken(directly) == []
    assert kernel.listed == 6
