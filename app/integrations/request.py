"""Integrations of a tenant that is to be created: their secrets are encrypted before anything is stored."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from app.errors import Invalid
from app.integrations.endpoint import Policy
from app.integrations.model import Change
from app.integrations.service import endpoint_errors
from app.keyring import Keyring
from app.registry.model import SealedSecret, TenantRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a process knows of its settings. Without them: public endpoints, and no secrets."""

    policy: Policy = field(default_factory=Policy)
    keyring: Keyring = field(default_factory=Keyring)

    def apply(self, request: TenantRequest, changes: Mapping[str, Change]) -> TenantRequest:
        """The request with its integrations. What is stored of a secret is its encryption, and in the document that a
        repeated request is compared with, a fingerprint under the same key.

        Raises Invalid for an endpoint that is not allowed, NoSecretKeys where there is no key to encrypt with.
        """
        errors = [
            error
            for name, change in changes.items()
            for error in endpoint_errors(change.settings, self.policy, within=f"/integrations/{name}")
        ]
        if errors:
            raise Invalid("The request is not valid; see errors.", errors=errors)
        settings = {name: change.settings for name, change in changes.items()}
        documents = list(self._documents(request, changes))
        return replace(
            request,
            config={**request.config, "apg_integrations": settings},
            document=documents[0],
            aliases=tuple(documents[1:]),
            secrets=tuple(self._sealed(request, changes)),
        )

    def _sealed(self, request: TenantRequest, changes: Mapping[str, Change]) -> Iterator[SealedSecret]:
        for capability, name, secret in _secrets(changes):
            sealed = self.keyring.seal(secret, request.tenant_id, capability, name)
            yield SealedSecret(capability=capability, name=name, sealed=sealed)

    def _documents(self, request: TenantRequest, changes: Mapping[str, Change]) -> Iterator[dict[str, Any]]:
        """One for each key; one in any case."""
        secrets = list(_secrets(changes))
        prints = [
            self.keyring.fingerprints(secret, request.tenant_id, capability, name)
            for capability, name, secret in secrets
        ]
        for of_one_key in zip(*prints, strict=True) if prints else [()]:
            documents: dict[str, dict[str, Any]] = {name: dict(change.settings) for name, change in changes.items()}
            for (capability, name, _), fingerprint in zip(secrets, of_one_key, strict=True):
                documents[capability].setdefault("credentials", {})[name] = fingerprint
            yield {**request.document, "integrations": documents}


def _secrets(changes: Mapping[str, Change]) -> Iterator[tuple[str, str, str]]:
    for capability, change in changes.items():
        for name, secret in change.credentials.items():
            if secret is not None:
                yield capability, name, secret
