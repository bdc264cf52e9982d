"""Words that look like images, in the place of a program."""

import pytest

from resolver.cli import images

INSTEAD = "; berth runs programs of this host, not images: "


@pytest.mark.parametrize(
    "word",
    [
        "nginx",
        "alpine:3.19",
        "redis:latest",
        "docker.io/library/nginx",
        "localhost:5000/team/app:1",
        "ghcr.io/a/b@sha256:" + "0a" * 32,
        "a/b",
    ],
)
def test_images(word):
    assert images.hint([word]) == f"{INSTEAD}give a program, with its arguments"
    assert images.hint([word, "-g", "daemon off;"]) == f"{INSTEAD}give a program, with its arguments"
    assert images.hint([word, "sh"], run="berth run -d") == f"{INSTEAD}leave the image out: `berth run -d sh`"
    assert images.hint([word, "sh", "-c", "echo 1"]) == f"{INSTEAD}leave the image out: `berth run sh -c 'echo 1'`"


@pytest.mark.parametrize("word", ["slep", "./server", "/usr/bin/nothing", "../x", "My-Program", "", "-", "a b", "no_such_program", "x:"])
def test_programs(word):
    assert images.hint([word]) == ""
