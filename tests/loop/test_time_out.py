"""The time-out of a test holds on this loop too."""

import asyncio

import pytest


async def test_test_that_is_late_is_ended():
    def late():
        pytest.fail("late")

    asyncio.get_running_loop().call_soon(late)
    with pytest.raises(asyncio.CancelledError, match="late"):
        await asyncio.wait_for(asyncio.Event().wait(), 5)
