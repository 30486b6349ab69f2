"""Reads bodies with Python's parsers: one JSON line for each that it gets."""

import base64
try:
    import cgi  # until Python 3.12
except ImportError:
    cgi = None
import email
import email.policy
import io
import json
import sys
import urllib.parse
import warnings

warnings.simplefilter("ignore")
GUARDED = "role"


def guarded(value, found):
    if isinstance(value, dict):
        for name, member in value.items():
            if name == GUARDED:
                found.append(member)
            guarded(member, found)
    elif isinstance(value, list):
        for element in value:
            guarded(element, found)
    return found


def document(parser, value):
    top = [value[GUARDED]] if isinstance(value, dict) and GUARDED in value else []
    return {"parser": parser, "top": top, "all": guarded(value, [])}


def form(parser, values):
    return {"parser": parser, "top": values, "all": values}


def json_bytes(kind, body):
    return document("Python json of bytes", json.loads(body))


def json_text(kind, body):
    return document("Python json of text", json.loads(body.decode("utf-8", "replace")))


def parse_qs(kind, body):
    text = body.decode("utf-8", "replace")
    return form("Python urllib.parse", urllib.parse.parse_qs(text, keep_blank_values=True).get(GUARDED, []))


def mail(policy):
    def read(kind, body):
        message = email.message_from_bytes(b"Content-Type: " + kind.encode("utf-8", "replace") + b"\r\n\r\n" + body, policy=policy)
        values = []
        for part in message.walk():
            if part.is_multipart() or part.get_param("name", header="content-disposition") != GUARDED:
                continue
            values.append((part.get_payload(decode=True) or b"").decode("utf-8", "replace"))
        return form("Python email, " + type(policy).__name__, values)

    return read


def field_storage(kind, body):
    environ = {"REQUEST_METHOD": "POST", "CONTENT_TYPE": kind, "CONTENT_LENGTH": str(len(body))}
    storage = cgi.FieldStorage(fp=io.BytesIO(body), environ=environ, keep_blank_values=True)
    values = []
    for item in storage.list or []:
        if item.name == GUARDED:
            value = item.value
            if isinstance(value, list):
                continue
            values.append(value.decode("utf-8", "replace") if isinstance(value, bytes) else value)
    return form("Python cgi", values)


PARSERS = {
    "application/json": [json_bytes, json_text],
    "application/x-www-form-urlencoded": [parse_qs, field_storage],
    "multipart/form-data": [mail(email.policy.compat32), mail(email.policy.HTTP), field_storage],
}


def main():
    for line in sys.stdin:
        request = json.loads(line)
        kind, body = request["type"], base64.b64decode(request["body"])
        readings = []
        for name, parsers in PARSERS.items():
            for parse in parsers if name in kind.lower() else []:
                try:
                    readings.append(parse(kind, body))
                except Exception:  # it refuses the body, in whatever way
                    pass
        sys.stdout.write(json.dumps(readings) + "\n")
        sys.stdout.flush()


main()
