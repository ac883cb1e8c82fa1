"""validate_only (AIP-163): the same checks and permissions, no effect."""

from typing import Annotated

from fastapi import Query

ValidateOnly = Annotated[
    bool, Query(description="Check everything and answer 200 with what it would be; change nothing")
]
