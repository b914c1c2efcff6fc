"""Define how strictly bodies of requests are read."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from streaming.live.pacing import LookAhead


class RequestBody(BaseModel):
    """Read a JSON object in which every value has its own type: `true` and `"7"` are no numbers, and 1 is no text.

    Unknown fields are refused as well.
    """

    model_config = ConfigDict(extra="forbid", strict=True)


LookAheadName = Annotated[LookAhead, Field(strict=False)]  # JSON has no enumerations: it is read from its name
