"""One Prometheus server over HTTP: bounded in time and size, and only where the configuration says.

Imports requests and prometheus_api_client (0.3 s, 19 MiB), so it is imported only when a server is
first asked. All of it blocks, and runs in threads.
"""

from __future__ import annotations

import io
import json
import ssl
import time
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import requests
from prometheus_api_client import PrometheusConnect
from urllib3.exceptions import HTTPError, ReadTimeoutError
from urllib3.util.retry import Retry

from incident_operator.api.configuration import PrometheusServer
from incident_operator.api.schema import parse_duration
from incident_operator.faults import Stalled, Waiting
from incident_operator.monitoring.credentials import Credentials

MOST_BYTES = 4 << 20
"""Size of an answer that is still read."""
MOST_TEXT = 300
"""Characters of a server's own error text that are told."""
PIECE = 64 << 10
QUERY_ERRORS = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)
"""What a query that cannot be read, or not be executed, is answered with (Prometheus HTTP API, "Format overview")."""
BUSY = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
UNAVAILABLE = "PrometheusUnavailable"


class Session(requests.Session):
    """Asks one server; what is no good answer is a Fault that says whose it is, and never a secret."""

    def __init__(self, configured: PrometheusServer) -> None:
        """Take name, credentials, certificates and timeout from the configuration; connect to nothing yet."""
        super().__init__()
        self.shown = shown(configured)
        self._timeout = configured.timeout
        self._seconds = parse_duration(configured.timeout).total_seconds()
        self._credentials = self.auth = Credentials(configured)
        self.trust_env = False  # no proxies, .netrc or certificates of the environment: the configuration says it all
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        self.headers["Accept-Encoding"] = "identity"  # so that the bound on what is read is one on what it becomes
        tls = configured.tls
        self.verify = str(tls.ca_file) if tls and tls.ca_file else system_authorities()
        if tls and tls.cert_file and tls.key_file:
            self.cert = (str(tls.cert_file), str(tls.key_file))

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Nowhere: a redirect is never followed, so the credentials go to the configured server only."""

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """The whole answer, if its status is 200; Waiting if none came, Stalled if it says no."""
        kwargs |= {"stream": True, "timeout": self._seconds}
        end = time.monotonic() + self._seconds
        try:
            response = self._sent(request, kwargs)
            try:
                body = self._body(response, end)
            finally:
                response.close()
        except (requests.Timeout, ReadTimeoutError, TimeoutError) as cause:
            raise Waiting(UNAVAILABLE, f"{self.shown} did not answer within {self._timeout}") from cause
        except (requests.RequestException, HTTPError, OSError) as cause:
            self._failed(cause)
        if response.status_code != HTTPStatus.OK:
            self._refused(response.status_code, body)
        response.raw = io.BytesIO(body)  # what the library reads the answer from
        return response

    def _sent(self, request: requests.PreparedRequest, kwargs: Mapping[str, Any]) -> requests.Response:
        """The answer's head; asked once more where the connection, which may be an old one, was closed."""
        try:
            return super().send(request, **kwargs)
        except requests.Timeout:
            raise
        except requests.ConnectionError:
            return super().send(request, **kwargs)

    def _body(self, response: requests.Response, end: float) -> bytes:
        """All of the body; read in pieces as they come, so that a slow one is noticed."""
        found = bytearray()
        while piece := response.raw.read1(PIECE, decode_content=False):
            found += piece
            if len(found) > MOST_BYTES:
                most = f"{MOST_BYTES >> 20} MiB"
                raise Stalled("AnswerTooLarge", f"{self.shown} answered with more than {most}: ask for less")
            if time.monotonic() > end:
                raise TimeoutError
        return bytes(found)

    def _failed(self, error: Exception) -> NoReturn:
        """Raise Waiting with what the network says; Stalled if a file of the configuration is not there."""
        if type(error) is OSError:  # what requests raises for a file of certificates that is missing
            raise Stalled("Misconfigured", f"{self.shown}: {str(error)[:MOST_TEXT]}") from error
        raise Waiting(UNAVAILABLE, f"{self.shown} does not answer: {_root(error)[:MOST_TEXT]}") from error

    def _refused(self, status: int, body: bytes) -> NoReturn:
        """Raise what an answer other than 200 means."""
        said = f"{self.shown} answered {status}"
        text = " ".join(self._credentials.hidden_in(_error_text(body)).split())[:MOST_TEXT]
        if status in QUERY_ERRORS and text:
            raise Stalled("QueryRejected", f"{self.shown} rejected the query: {text}")
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in BUSY:
            raise Waiting(UNAVAILABLE, f"{said}: {text}" if text else said)
        remedy = "is its url right?"
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            self._credentials.forget()
            remedy = "are its bearerTokenFile or basicAuth right?"
        if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            remedy = "redirects are not followed; is its url right?"
        raise Stalled("PrometheusRefused", f"{said}; {remedy}")


class Connection:
    """What is asked of one server: queries through the library, all else through the same session."""

    def __init__(self, configured: PrometheusServer) -> None:
        """Build it; nothing is connected yet."""
        self.session = Session(configured)
        self._url = configured.url.rstrip("/")
        self._seconds = parse_duration(configured.timeout).total_seconds()
        never = Retry(total=0, read=False)  # the session asks again itself, and not after a timeout
        self._library = PrometheusConnect(
            self._url, disable_ssl=False, retry=never, session=self.session, timeout=self._seconds
        )

    def query(self, query: str, at: datetime | None) -> Any:
        """The result of an instant query, as the server writes it; "now" is the server's where no time is given."""
        params = {"timeout": f"{self._seconds * 1000:.0f}ms"}  # so that it does not go on when we have given up
        if at is not None:
            params["time"] = f"{at.timestamp():.3f}"
        try:
            return self._library.custom_query(query, params=params)
        except (ValueError, LookupError, TypeError, RecursionError) as cause:
            raise self.strange() from cause

    def data(self, path: str, params: Mapping[str, str]) -> Any:
        """The data of another answer of the API."""
        try:
            return self.session.get(f"{self._url}{path}", params=dict(params)).json()["data"]
        except (ValueError, LookupError, TypeError, RecursionError) as cause:
            raise self.strange() from cause

    def strange(self) -> Waiting:
        """The fault of an answer that is not Prometheus'; something in between may have given it."""
        return Waiting(UNAVAILABLE, f"{self.session.shown} answered with something that is not of Prometheus' API")

    def close(self) -> None:
        """Close its connections."""
        self._library.close()


def shown(configured: PrometheusServer) -> str:
    """The server as messages call it; without user, password and query of its URL."""
    url = urlsplit(configured.url)
    return f"Prometheus {configured.name} ({url.scheme}://{url.netloc.rpartition('@')[2]}{url.path.rstrip('/')})"


def system_authorities() -> str | bool:
    """Where the system keeps the authorities it trusts; True, for those that requests brings, where it has none."""
    known = ssl.get_default_verify_paths()
    if known.cafile:
        return known.cafile
    if known.capath and any(Path(known.capath).iterdir()):
        return known.capath
    return True


def _root(error: BaseException) -> str:
    """The operating system's or TLS' words for what has happened, from below the libraries' layers."""
    below: BaseException | None = error
    while below is not None:
        if isinstance(below, OSError) and not isinstance(below, requests.RequestException):
            return below.strerror or str(below)
        below = below.__cause__ or below.__context__
    return type(error).__name__  # their texts repeat the URL, with all of the query


def _error_text(body: bytes) -> str:
    """Prometheus' own words for what is wrong; empty if it did not say."""
    try:
        said = json.loads(body)["error"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
    return said if isinstance(said, str) else ""
