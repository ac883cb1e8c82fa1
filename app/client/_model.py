"""What every document of the service is read as."""

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")


class FieldError(Model):
    """`pointer` is a JSON pointer into the body, or `query/NAME`, `header/NAME`."""

    pointer: str
    detail: str
