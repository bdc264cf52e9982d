"""ESP between hosts: messages as `ip xfrm` sends them, keys that follow from a secret, and their rotation."""

import errno
from ipaddress import ip_address

import pytest

from netcore import limits
from netcore.cluster import encryption
from netcore.cluster.encryption import Key, KeyAges, Rotation
from netcore.desired.diff import diff
from netcore.desired.objects import EspBlock, EspPolicy, EspState
from netcore.kernel import xfrm
from netcore.kernel.handlers import handler_of

ONE, TWO = ip_address("10.0.0.1"), ip_address("10.0.0.2")
SECRET = bytes(range(20))

# What `strace -xx -e trace=sendmsg ip xfrm ..` (iproute2 6.1) showed behind the netlink header.
RECORDED_STATE = (
    "00" * 56 + "0a000002" + "00" * 12 + "00001001" + "32000000" + "0a000001" + "00" * 12 + "ff" * 32 + "00" * 32 + "00" * 44
    + "00000000" + "07000000" + "0200" + "000080" + "00" * 7
    + "60001200" + b"rfc4106(gcm(aes))".hex() + "00" * 47 + "a0000000" + "80000000" + "000102030405060708090a0b0c0d0e0f10111213"
    + "1c001700" + "04000000" + "00" * 16 + "80000000"
)  # fmt: skip
RECORDED_STATE_DELETE = "0a000002" + "00" * 12 + "00001001" + "0200" + "3200" + "14000d00" + "0a000001" + "00" * 12
SELECTOR = "0a000002" + "00" * 12 + "0a000001" + "00" * 12 + "12b5ffff" + "00000000" + "0200" + "2020" + "11" + "00" * 11
RECORDED_POLICY = (
    SELECTOR + "ff" * 32 + "00" * 32 + "00" * 32 + "00000000" + "00000000" + "01000000" + "00000000"
    + "44000500" + "0a000002" + "00" * 12 + "00000000" + "32000000" + "02000000" + "0a000001" + "00" * 12 + "07000000" + "00000000" + "ff" * 12
)  # fmt: skip
RECORDED_POLICY_DELETE = SELECTOR + "00000000" + "01000000"


def test_a_state_that_somebody_replaced_is_deleted_before_it_is_made_again():
    state = EspState(source=ONE, target=TWO, spi=0x1001, key_material=SECRET.hex(), request_id=7)
    handler = handler_of(state)
    requests = handler.mend(None, state)
    assert [request.operation for request in requests] == ["delete ESP state", "add ESP state"]
    assert requests[1].body == xfrm.add_state(ONE, TWO, spi=0x1001, request_id=7, key=SECRET).body
    # One that was not there is no error.
    assert errno.ESRCH in handler.already


def test_messages_are_those_of_ip_xfrm():
    state = xfrm.add_state(ONE, TWO, spi=0x1001, request_id=7, key=SECRET)
    assert state.type == 0x10
    assert state.body.hex() == RECORDED_STATE
    policy = xfrm.set_policy(ONE, TWO, port=4789, outgoing=True, request_id=7)
    assert (policy.type, policy.body.hex()) == (0x19, RECORDED_POLICY)
    deletion = xfrm.delete_policy(ONE, TWO, port=4789, outgoing=True)
    assert (deletion.type, deletion.body.hex()) == (0x14, RECORDED_POLICY_DELETE)
    gone = xfrm.delete_state(ONE, TWO, spi=0x1001)
    assert (gone.type, gone.body.hex()) == (0x11, RECORDED_STATE_DELETE)


def test_incoming_policy_and_ipv6():
    incoming = xfrm.set_policy(TWO, ONE, port=4789, outgoing=False, request_id=7)
    # dir behind priority and index
    assert incoming.body[56 + 64 + 32 + 8] == 0
    six = xfrm.set_policy(ip_address("fd00::1"), ip_address("fd00::2"), port=4789, outgoing=True, request_id=7)
    assert six.body[:32] == ip_address("fd00::2").packed + ip_address("fd00::1").packed
    assert six.body[40:45] == b"\x0a\x00\x80\x80\x11"


def creation(esp):
    (request,) = handler_of(esp).create(None, esp)
    return request


def test_what_is_there_is_read_back():
    state = EspState(source=ONE, target=TWO, spi=0x1001, key_material=SECRET.hex(), request_id=7)
    assert xfrm.parse_state(bytes.fromhex(RECORDED_STATE), 7) == state
    assert xfrm.parse_state(bytes.fromhex(RECORDED_STATE), 8) is None
    assert xfrm.parse_policy(bytes.fromhex(RECORDED_POLICY), 8) is None
    six = ip_address("fd00::1"), ip_address("fd00::2")
    for one, two in ((ONE, TWO), six):
        for outgoing in (True, False):
            policy = EspPolicy(source=one, target=two, port=4790, outgoing=outgoing, request_id=7)
            assert xfrm.parse_policy(creation(policy).body, 7) == policy
            block = EspBlock(own=one, port=4790, outgoing=outgoing)
            assert xfrm.parse_policy(creation(block).body, 7) == block
        made = EspState(source=one, target=two, spi=0x1001, key_material=SECRET.hex(), request_id=7)
        assert xfrm.parse_state(creation(made).body, 7) == made


def test_each_direction_and_each_key_is_another():
    key = Key(number=1, secret="ab" * 32)
    derived = {
        encryption.derive(each, *ends)
        for each in (key, Key(number=2, secret="ab" * 32), Key(number=1, secret="cd" * 32))
        for ends in ((ONE, TWO), (TWO, ONE))
    }
    assert len(derived) == 6
    assert all(spi >= 256 and len(secret) == 20 for spi, secret in derived)
    # Both hosts find the same without a word.
    assert encryption.derive(key, ONE, TWO) == encryption.derive(key, ONE, TWO)


def test_new_key_is_taken_in_before_it_is_sent_with():
    old, new = Key(number=1, secret="ab" * 32), Key(number=2, secret="cd" * 32)
    assert encryption.sending_key([], {}, 0.0) is None
    assert encryption.sending_key([old], {1: 0.0}, 0.0) == old
    assert encryption.sending_key([old, new], {1: 0.0, 2: 100.0}, 100.0 + limits.KEY_SETTLE - 1) == old
    assert encryption.sending_key([new, old], {1: 0.0, 2: 100.0}, 100.0 + limits.KEY_SETTLE) == new
    # A host that has just started knows neither for long: it sends with the older, which all have.
    assert encryption.sending_key([old, new], {1: 5.0, 2: 5.0}, 5.0) == old


def test_time_for_the_next_key():
    ages, keys = KeyAges(), {}
    assert ages.sending_key(keys, 0.0) is None
    assert ages.rotation(keys, 0.0) == Rotation(None, ())
    keys[1] = Key(number=1, secret="ab" * 32)
    assert ages.sending_key(keys, 5.0) == keys[1]
    assert ages.rotation(keys, 5.0 + limits.KEY_LIFE - 1) == Rotation(None, ())
    assert ages.rotation(keys, 5.0 + limits.KEY_LIFE) == Rotation(2, ())
    # The next one is not made before the newest is the one to send with, and has been known for its whole life.
    keys[2] = Key(number=2, secret="cd" * 32)
    now = 10.0 + limits.KEY_LIFE
    assert ages.rotation(keys, now) == Rotation(None, ())
    assert ages.sending_key(keys, now) == keys[1]
    assert ages.sending_key(keys, now + limits.KEY_SETTLE) == keys[2]
    assert ages.rotation(keys, now + limits.KEY_LIFE) == Rotation(3, ())
    # A key that no host sends with any more is deleted: the one before the newest may still be in use.
    keys[3] = Key(number=3, secret="ef" * 32)
    assert ages.rotation(keys, now + limits.KEY_LIFE) == Rotation(None, (1,))


def test_two_hosts_fit_together_through_a_rotation():
    old, new = Key(number=1, secret="ab" * 32), Key(number=2, secret="cd" * 32)

    def of(own, peer, keys, sender):
        return encryption.objects(own, {4789: [peer, peer]}, keys, sender)

    for mine, theirs in ((old, old), (old, new), (new, old), (new, new)):
        here, there = of(ONE, TWO, [old, new], mine), of(TWO, ONE, [old, new], theirs)
        out = {state for state in here if isinstance(state, EspState) and state.source == ONE}
        assert len(out) == 1
        assert out <= {state for state in there if isinstance(state, EspState)}
    # Clear traffic is neither sent nor taken in, at any time.
    blocks = [block for block in of(ONE, TWO, [], None) if isinstance(block, EspBlock)]
    assert sorted((block.own, block.port, block.outgoing) for block in blocks) == [(ONE, 4789, False), (ONE, 4789, True)]
    policies = [policy for policy in of(ONE, TWO, [old, new], new) if isinstance(policy, EspPolicy)]
    assert sorted((policy.outgoing, str(policy.source)) for policy in policies) == [(False, "10.0.0.2"), (True, "10.0.0.1")]
    # The new way is there before the old one goes.
    steps = diff(of(ONE, TWO, [old, new], old), of(ONE, TWO, [old, new], new))
    assert [(step.before is None, step.after is None) for step in steps] == [(True, False), (False, True)]
    assert "ab" * 10 not in " ".join(step.describe() for step in steps)


@pytest.mark.parametrize("address", ["10.0.0.1", "fd00::1"])
def test_derivation_takes_both_families(address):
    assert encryption.derive(Key(number=1, secret="00" * 32), ip_address(address), ip_address(address))[0] >= 256
