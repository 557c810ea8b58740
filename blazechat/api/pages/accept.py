"""Content negotiation (RFC 9110 section 12.5.1): whether a client asks for a web page or for JSON."""

HTML_TYPES = ("text/html", "application/xhtml+xml")
JSON_TYPES = ("application/json", "application/problem+json")
MAX_RANGES = 30


def prefers_html(accept: str) -> bool:
    """Return whether an `Accept` header names HTML, and does not prefer JSON.

    Programs send `*/*`, or no header: they get JSON.
    """
    qualities: dict[str, float] = {}
    for part in accept.split(",")[:MAX_RANGES]:
        media_type, *parameters = (each.strip().lower() for each in part.split(";"))
        qualities[media_type] = _quality(parameters)
    html = max(qualities.get(media_type, 0.0) for media_type in HTML_TYPES)
    return html > 0 and html >= max(qualities.get(media_type, 0.0) for media_type in JSON_TYPES)


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return float(parameter[2:])
            except ValueError:
                return 0.0
    return 1.0
