"""The shapes of the API: what a body may leave out, and that nothing unknown is taken."""

import msgspec
import pytest

from resolver.daemon import cache_shapes, schema

BODIES = [schema.NetworkBody, schema.PruneBody, schema.SandboxBody, schema.SandboxChange, schema.ConnectBody, schema.DisconnectBody,
          schema.EndpointBody, cache_shapes.FlushBody, schema.ResolveBody]  # fmt: skip


@pytest.mark.parametrize("body", BODIES)
def test_unknown_field_is_refused(body):
    known = {field.name: "x" for field in msgspec.structs.fields(body) if field.required}
    assert msgspec.json.decode(msgspec.json.encode(known), type=body)
    with pytest.raises(msgspec.ValidationError, match="colour"):
        msgspec.json.decode(msgspec.json.encode({**known, "colour": "blue"}), type=body)


def test_defaults_are_docker_s():
    body = schema.NetworkBody(name="n")
    assert (body.driver, body.internal, body.ipv4, body.ipv6, body.ipam_driver) == ("bridge", False, None, None, "default")
    assert not schema.SandboxBody(name="s").default_network
