"""The registry of drivers: total, without doubles, and told in the documentation."""

from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import get_type_hints

import pytest

from netcore import drivers
from netcore.drivers.plugin import PluginDriver
from netcore.drivers.protocol import Driver
from netcore.errors import InvalidRequest, Unavailable
from netcore.model import CustomOptions, Network, PluginOptions
from netcore.parse.options import COMMON, Option
from netcore.store.codec import decode, encode
from tests.support.networks import bridge_network, parent_network

ROOT = Path(__file__).parents[3]
MEMBERS = sorted(name for name in vars(Driver) if not name.startswith("_"))
ALL = [*(drivers.named(name) for name in drivers.names()), PluginDriver(PluginOptions(plugin="weave"))]


def test_berths_drivers_are_registered():
    assert drivers.names() == ("bridge", "macvlan", "ipvlan", "overlay")
    assert drivers.named("weave") is None


@pytest.mark.parametrize("driver", ALL, ids=lambda driver: driver.name)
@pytest.mark.parametrize("member", MEMBERS)
def test_every_driver_answers_every_question(driver, member):
    asked = vars(Driver)[member]
    answer = getattr(driver, member)
    if isinstance(asked, property):
        assert isinstance(answer, {"name": str, "options": tuple}.get(member, bool))
    else:
        assert [*signature(answer).parameters] == [*signature(asked).parameters][1:]
        assert get_type_hints(answer).keys() == get_type_hints(asked).keys()


def test_the_page_explains_every_question():
    page = (ROOT / "docs" / "write-a-driver.md").read_text()
    assert [member for member in MEMBERS if f"| `{member}` |" not in page] == []


def test_every_option_says_what_it_means_and_has_names_of_its_own():
    for driver in ALL:
        options = (*COMMON, *driver.options)
        assert all(isinstance(option, Option) and option.meaning and "\n" not in option.described() for option in options)
        spellings = [spelling for option in options for spelling in {option.name, option.label, *option.synonyms}]
        assert len(spellings) == len(set(spellings)), driver.name
    assert drivers.short_names()["vni"] == "com.docker.network.driver.overlay.vxlanid_list"
    assert {option.name for option in COMMON} < drivers.short_names().keys()


def test_which_driver_a_network_has():
    assert drivers.of(bridge_network("a")) is drivers.named("bridge")
    assert drivers.of(parent_network("b", "ipvlan")) is drivers.named("ipvlan")
    # A plugin may be called like a driver of ours.
    assert drivers.of(replace(bridge_network("c"), driver_options=PluginOptions(plugin="bridge"))).plugin(bridge_network("c")) == "bridge"


def test_a_driver_from_outside_is_registered_once(monkeypatch):
    class Custom(PluginDriver):
        options = (*COMMON[:0],)

    monkeypatch.setattr(drivers, "_DRIVERS", {**drivers._DRIVERS})
    network = replace(bridge_network("a"), driver="custom", driver_options=CustomOptions(values=(("device", "x0"),)))
    with pytest.raises(Unavailable, match="driver custom is not available: it made network a;"):
        drivers.of(network)
    custom = Custom(PluginOptions(plugin="custom"))
    drivers.register(custom)
    assert drivers.of(network) is drivers.named("custom") is custom
    with pytest.raises(ValueError, match="registered already"):
        drivers.register(custom)


def test_its_options_come_back_from_the_store():
    network = replace(bridge_network("a"), driver="custom", driver_options=CustomOptions(values=(("device", "x0"),)))
    again = decode(Network, encode(network))
    assert (again, again.driver_options["device"]) == (network, "x0")
    with pytest.raises(KeyError):
        again.driver_options["other"]


def test_options_of_other_drivers_are_refused_by_name():
    with pytest.raises(InvalidRequest, match="invalid option vni: the bridge driver has no such option"):
        drivers.named("bridge").read_options({"vni": "5000"})
    assert drivers.named("overlay").read_options({"vni": "5000", "icc": "false"}) == {
        "com.docker.network.driver.overlay.vxlanid_list": "5000",
        "com.docker.network.bridge.enable_icc": "false",
    }
