"""What /metrics says, read as Prometheus reads it."""

from collections.abc import Mapping
from dataclasses import dataclass

import httpx
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from app.apikeys.model import Role
from tests.support.api import Api


@dataclass(frozen=True, slots=True)
class Scrape:
    text: str
    families: Mapping[str, Metric]

    def value(self, name: str, **labels: str) -> float | None:
        """Of the one series that has these labels; None where there is none."""
        found = [
            sample.value
            for family in self.families.values()
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        assert len(found) <= 1, (name, labels, found)
        return found[0] if found else None

    def total(self, name: str, **labels: str) -> float:
        """Of all series that have these labels."""
        return sum(
            sample.value
            for family in self.families.values()
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


def parsed(text: str) -> Scrape:
    return Scrape(text, {family.name: family for family in text_string_to_metric_families(text)})


@dataclass(slots=True)
class Scraper:
    """Somebody with the role metrics, who may ask anew at once: what the process knew is forgotten before."""

    api: Api
    headers: dict[str, str]

    @classmethod
    async def of(cls, api: Api) -> "Scraper":
        """Known to the process, which has forgotten what it knew before it listened."""
        scraper = cls(api, {"Authorization": f"Bearer {await api.key(Role.METRICS)}"})
        await scraper.get()
        await api.services.known_keys._listener.connected.wait()
        await scraper.get()
        return scraper

    async def get(self, **headers: str) -> httpx.Response:
        return await self.api.client.get("/metrics", headers={**self.headers, **headers})

    async def __call__(self) -> Scrape:
        self.api.services.figures.forget()
        answer = await self.get()
        assert answer.status_code == 200, answer.text
        return parsed(answer.text)
