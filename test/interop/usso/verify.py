"""Ask the real USSO SDK about tokens: verify.py CASES.json

CASES.json is {"now": seconds, "cases": [{"name", "token", "config",
"token_type"}]}, where config holds the SDK's own names (jwks_url or key,
issuer, audience, type). One JSON verdict per case goes to standard output:

    {"name": ..., "accepted": true, "user": {"user_id", "sub", "tenant_id", ...}}
    {"name": ..., "accepted": false, "error": "class: text"}

A case with a "request" ({"headers", "cookies"}) instead of a token is about
where the SDK looks for one: {"name": ..., "found": kind, "value": text}.
"""

import json
import sys
import types

import usso_jwt.verify
from usso.auth import UssoAuth
from usso.config import AuthConfig

FIELDS = (
    "user_id", "sub", "tenant_id", "workspace_id", "roles", "scopes",
    "token_type", "session_id", "jti", "iss", "exp", "nbf", "iat",
)


class Refused(Exception):
    """What the SDK's integrations do not treat as a JWT."""


def authenticate(auth, token, token_type):
    """Do what the SDK's integrations do with a bearer token.

    But an API key would be sent to a server, so that is refused here.
    """
    kind = auth.detect_compact_token_type(token)
    if kind == "jwt":
        return auth.user_data_from_token(token, expected_token_type=token_type)
    if kind == "jwe":
        return auth.user_data_from_jwe(token)
    raise Refused("taken for an API key")


def claim(name, value):
    """Return the value as what it should be: the SDK lets an id be a number."""
    if value is None or name in {"roles", "scopes", "exp", "nbf", "iat"}:
        return value
    return str(value)


def verdict(case):
    """Return the SDK's answer, whatever it raises."""
    try:
        auth = UssoAuth(jwt_config=AuthConfig(**case["config"]))
        user = authenticate(auth, case["token"], case["token_type"])
    except Exception as err:  # the SDK lets many kinds through
        text = str(getattr(err, "detail", None) or err)
        return {
            "name": case["name"],
            "accepted": False,
            "error": f"{type(err).__name__}: {text}"[:300],
        }
    return {
        "name": case["name"],
        "accepted": True,
        "user": {name: claim(name, getattr(user, name)) for name in FIELDS},
    }


class Headers(dict):
    """The headers of a request, whose names have no case."""

    def get(self, name):
        """Return the value of a header, or None."""
        return next((v for n, v in self.items() if n.lower() == name.lower()), None)


def extraction(case):
    """Return what the SDK's integrations take a request's credential for."""
    request = types.SimpleNamespace(
        headers=Headers(case["request"]["headers"] or {}),
        cookies=case["request"]["cookies"] or {},
    )
    config = AuthConfig(**case["config"])
    value = config.get_jwt(request)
    if value:
        kind = UssoAuth.detect_compact_token_type(value) or "api key"
    else:
        value = config.get_api_key(request)
        kind = "api key" if value else "none"
    return {"name": case["name"], "found": kind, "value": value or ""}


def main():
    """Answer all cases at one instant, so that both sides see the same time."""
    with open(sys.argv[1], encoding="utf-8") as file:
        work = json.load(file)
    usso_jwt.verify.time = types.SimpleNamespace(time=lambda: work["now"])
    for case in work["cases"]:
        answer = extraction if "request" in case else verdict
        print(json.dumps(answer(case)))


if __name__ == "__main__":
    main()
