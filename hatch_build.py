"""Build hook: packs the documentation and the compiled core into the wheel.

An editable install gets neither: it reads the documentation from the checkout, and `make` compiles the
core there.
"""

import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

COMPILE_VARIABLE = "BLAZECHAT_COMPILE"
"""0 builds the wheel without the compiled core, 1 fails if it cannot be compiled."""
BUILD_PACKAGES = ("mypy", "msgspec", "setuptools")
"""What compile_core.py needs, in the versions of constraints.txt."""


class WheelHook(BuildHookInterface):
    def dependencies(self) -> list[str]:
        """Return what the build needs beside pyproject.toml's requirements."""
        if self.target_name != "wheel" or os.environ.get(COMPILE_VARIABLE) == "0":
            return []
        pins = Path(self.root, "constraints.txt").read_text()
        return re.findall(rf"^(?:{'|'.join(BUILD_PACKAGES)})==\S+", pins, re.MULTILINE)

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Not by `force-include`: an editable install would get copies that are old after the next edit."""
        if version == "editable":
            return
        build_data["force_include"] |= self.config["documents"]
        if os.environ.get(COMPILE_VARIABLE) == "0":
            return
        self._compiled = tempfile.TemporaryDirectory(prefix="blazechat-wheel-")
        if self._compile(Path(self._compiled.name)):
            build_data["force_include"][self._compiled.name] = self._folder
            build_data["pure_python"] = False
            build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if hasattr(self, "_compiled"):
            self._compiled.cleanup()

    def _compile(self, folder: Path) -> bool:
        """Compile the core into the folder; return False, after one line that says why, if that fails."""
        sys.path.insert(0, self.root)
        import compile_core
        from blazechat import compiled_core

        self._folder = compiled_core.folder(Path("blazechat")).as_posix()
        try:
            compile_core.compile_core(folder)
        except compile_core.CompileError as error:
            if os.environ.get(COMPILE_VARIABLE) == "1":
                raise
            self.app.display_warning(f"The wheel has no compiled core: {error}")
            return False
        return True
