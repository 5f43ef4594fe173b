"""Text as a tokenizer can take it."""


def well_formed(text: str) -> str:
    """The text with surrogate pairs joined and each lone surrogate as U+FFFD.

    JSON's `\\ud83d` escapes can put surrogates into a Python string; tokenizers refuses them.
    """
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
