"""What runs in place of the app where its packages are for another Python, or missing: `health` alone, which says so.

Registering the other functions would take leads and messages that nothing can handle. It imports what works on every Python.
"""

import json
import re
import sys
from importlib.util import find_spec
from pathlib import Path

import azure.functions as func

from leads.platform.events import Event, emit

REMEDY = "publish the package that `make package` makes to an app with Python 3.13, or build remotely with the app's own version"


def health_alone(error: ImportError) -> func.FunctionApp:
    """An app whose only function answers 503 with the reason, and logs it. `error` is what the import of the app has met."""
    app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    built_for = packages_are_for()
    fault = (
        f"the packages are for {built_for}" if built_for not in {"", running} else "a package is missing or incomplete"
    )
    reason = f"Python {running} runs, and {fault} ({error}): {REMEDY}"
    problem = {"type": "about:blank", "title": "The app's packages can't be used", "status": 503, "detail": reason}

    @app.function_name("health")
    @app.route("health", methods=["GET"])
    def health(req: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001 - the library asks for it
        emit(Event.PACKAGES_UNUSABLE, running=running, built_for=built_for, error=str(error))
        return func.HttpResponse(json.dumps(problem), status_code=503, mimetype="application/problem+json")

    return app


def packages_are_for() -> str:
    """The Python of the compiled packages, such as "3.11", by the names of their files (PEP 3149); "" if it can't be told."""
    found = find_spec("pydantic_core")
    folders = found.submodule_search_locations if found and found.submodule_search_locations else []
    names = [path.name for folder in folders for path in Path(folder).glob("*.so")]
    match = next((match for name in names if (match := re.search(r"cpython-3(\d+)", name))), None)
    return f"3.{match[1]}" if match else ""
