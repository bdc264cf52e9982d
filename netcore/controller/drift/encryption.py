"""States and policies of ESP, by which hosts encrypt what overlay networks send: those that must be there, as they must be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from netcore.controller.collaborators import Collaborators
from netcore.controller.drift.kernel_objects import kind_of
from netcore.errors import NetcoreError
from netcore.plan.drift import Concern, Damage, Key, Part


class EncryptionComparison:
    """See the module. What of ours is there too much is harmless, and goes with the next change of keys."""

    def __init__(self, parts: Collaborators) -> None:
        self._parts = parts
        self._encryption = parts.overlays.encryption

    async def find(self, concern: Concern) -> Sequence[Damage]:
        if concern.part is not Part.ENCRYPTION:
            return ()
        return [
            Damage(key=lost.key, kind=kind_of(lost), description=lost.describe(), concern=concern, owner="")
            for lost in await self._encryption.find_lost()
        ]

    async def repair(self, concern: Concern, damages: Sequence[Damage]) -> Mapping[Key, str]:
        if not damages:
            return {}
        keys = {damage.key for damage in damages}
        try:
            lost = [lost for lost in await self._encryption.find_lost() if lost.key in keys]
            problems = await self._parts.workers.run(lambda: self._parts.executor.mend(lost))
        except (NetcoreError, OSError) as error:
            return dict.fromkeys(keys, str(error))
        return {failed.key: problem for failed, problem in problems.items()}
