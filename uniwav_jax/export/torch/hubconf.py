"""`torch.hub.load(FOLDER, "uniwav", source="local")`: the exported model, without transformers."""

import importlib.util
import pathlib
import sys
from typing import Any

dependencies = ["torch", "safetensors"]
FOLDER = pathlib.Path(__file__).parent


def uniwav(**options: Any) -> Any:
    """Load the model of this folder in evaluation mode, with options of `uniwav_model.load`."""
    # Import the folder as a package under a fixed name, because its own may not be an identifier.
    name = "uniwav_export"
    spec = importlib.util.spec_from_file_location(
        name, FOLDER / "__init__.py", submodule_search_locations=[str(FOLDER)]
    )
    for module in [m for m in sys.modules if m.split(".")[0] == name]:
        del sys.modules[module]  # it may be of another export
    sys.modules[name] = importlib.util.module_from_spec(spec)
    return importlib.import_module(f"{name}.uniwav_model").load(str(FOLDER), **options)
