"""Build hook: packs the documentation into the wheel. An editable install reads it from the checkout."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class DocumentsHook(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Not by `force-include`: an editable install would get copies that are old after the next edit."""
        if version != "editable":
            build_data["force_include"] |= self.config["documents"]
