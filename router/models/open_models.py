"""The configured model servers."""

from collections.abc import Mapping

from router.models.model_server import ModelServer
from router.models.openai_server import OpenAIServer
from router.settings import ModelSettings


def open_models(
    settings: Mapping[str, ModelSettings], environ: Mapping[str, str]
) -> dict[str, ModelServer]:
    """A client for each `[models.NAME]`; none of them connects yet.

    Raises:
        SettingsError: a key that is named isn't set.
    """
    return {name: OpenAIServer(name, model, environ) for name, model in settings.items()}
