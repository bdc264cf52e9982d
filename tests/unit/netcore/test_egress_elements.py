"""Which kernels give an element that is added again its new time."""

import pytest

from netcore.kernel.egress_elements import _kernel_renews


@pytest.mark.parametrize(
    ("release", "renews"),
    [("6.18.44-fc", True), ("6.12", True), ("6.12-rc1", True), ("6.11.9", False), ("5.15.0-91-generic", False), ("7", True), ("7.0", True),
     ("6", False), ("", False), ("custom", False), ("6.x", False)],
)  # fmt: skip
def test_kernels_that_renew(release, renews):
    assert _kernel_renews(release) is renews
