"""The body of a request that sends a message: all its invalid fields are reported at once."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ModelWrapValidatorHandler, ValidationError, model_validator

from blazechat.api import field_errors
from blazechat.domain.messaging.sends import MessageDraft, errors_of

FIELDS = ("content", "client_id", "reply_to", "attachments")


class MessageBody(BaseModel):
    """The base of such bodies. The ledger checks a message whose types are right; so this costs nothing."""

    @model_validator(mode="wrap")
    @classmethod
    def _report_all(cls, value: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        """Beside wrong types, report the fields that the ledger would reject."""
        try:
            return validate(value)
        except ValidationError as error:
            if not isinstance(value, Mapping):
                raise
            wrong = {each["loc"][0] for each in error.errors()}
            draft = MessageDraft(0, *(None if name in wrong else value.get(name) for name in FIELDS))
            if "attachments" in wrong:
                draft.attachments = [1]  # with any, the content may be empty
            others = [each for each in errors_of(draft) if each.field not in wrong]
            raise field_errors.with_others(error, others) from None
