"""What a caller may be. Pure."""

from enum import StrEnum
from typing import Final


class Role(StrEnum):
    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"
    AUDITOR = "auditor"
    READER = "reader"
    METRICS = "metrics"

    def includes(self, other: "Role") -> bool:
        """admin includes operator includes viewer; the others stand alone."""
        return other is self or other in _INCLUDED.get(self, ())

    def may_give(self, other: "Role") -> bool:
        """Nobody gives away more than they have; an admin has what there is to give."""
        return self is Role.ADMIN or self.includes(other)


_INCLUDED: Final = {
    Role.ADMIN: frozenset({Role.OPERATOR, Role.VIEWER}),
    Role.OPERATOR: frozenset({Role.VIEWER}),
}
# The highest first: what counts where somebody has several.
BY_RANK: Final = (Role.ADMIN, Role.OPERATOR, Role.VIEWER, Role.AUDITOR, Role.READER, Role.METRICS)
